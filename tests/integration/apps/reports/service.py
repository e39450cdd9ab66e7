"""Reports for customers: asked for by POST, made by workers, fetched by GET.

uvicorn service:app
redisqueue-worker run work:make --queue reports --redis-url redis://localhost --results-ttl-seconds 3600
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import redis.asyncio
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from work import Report

from redis_message_queue.asyncio import RedisMessageQueue
from redis_message_queue.exceptions import RetryBudgetExhaustedError

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
LONGEST_WAIT_SECONDS = 60.0
PATIENCE_SECONDS = 3.0  # with Redis, beyond what was asked for


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all requests of this process. It connects when it is used: a start needs no Redis.

    Whoever waits for a report holds a connection, so it may have more of them than the usual 100.
    """
    async with redis.asyncio.Redis.from_url(
        REDIS_URL, max_connections=1000, socket_connect_timeout=1, socket_timeout=5
    ) as client:
        app.state.reports = RedisMessageQueue("reports", client=client, publish_timeout_seconds=2)
        yield


app = FastAPI(lifespan=lifespan)


def reports(request: Request) -> RedisMessageQueue:
    """The queue of this process."""
    queue: RedisMessageQueue = request.app.state.reports
    return queue


Reports = Annotated[RedisMessageQueue, Depends(reports)]


@app.exception_handler(RetryBudgetExhaustedError)
@app.exception_handler(redis.RedisError)
@app.exception_handler(TimeoutError)
async def redis_is_away(request: Request, error: Exception) -> JSONResponse:
    """Whoever asked may ask again: the key makes that harmless."""
    return JSONResponse({"detail": "try again"}, 503, {"Retry-After": "5"})


@app.post("/reports", status_code=202)
async def ask(report: Report, queue: Reports, response: Response) -> dict[str, Any]:
    """Ask for a report; within ten minutes the same one is not made again."""
    key = f"{report.customer} {report.month}"
    receipt = await queue.enqueue(report, deduplication_key=key, deduplication_seconds=600)
    message_id = receipt.message_id if receipt else receipt.first_id
    response.headers["Location"] = f"/reports/{message_id}"
    return {"id": message_id}


@app.get("/reports/{message_id}")
async def fetch(
    message_id: str,
    queue: Reports,
    response: Response,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0,
) -> dict[str, Any]:
    """Fetch a report, or tell where it is; `wait` for so many seconds rather than ask again and again."""
    async with asyncio.timeout(wait + PATIENCE_SECONDS):
        result = await queue.result(message_id, timeout_seconds=wait)
        if result is None:
            where = await queue.find(message_id)
            if where.state != "unknown":
                response.status_code = 202
                return {"state": where.state, "before": where.position}
            result = await queue.result(message_id)  # it may have ended between the two
    if result is None:
        raise HTTPException(404, "no such report, or not any more")
    if result.state != "completed":
        raise HTTPException(422, result.reason)
    return {"state": "completed", "report": result.value}


@app.delete("/reports/{message_id}")
async def cancel(message_id: str, queue: Reports) -> dict[str, str]:
    """Nobody wants it any more: what waits is never made, what is being made ends soon."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return {"state": await queue.cancel(message_id)}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether this process answers. Not whether Redis does: no restart would bring that back."""
    return {"state": "ok"}
