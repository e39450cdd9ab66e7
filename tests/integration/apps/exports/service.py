"""Exports for tenants, none of whom may take all the workers.

    gunicorn --preload --workers 2 service:app
    redisqueue-worker run work:write --queue exports --redis-url redis://localhost \
        --results-ttl-seconds 3600 --concurrency 8 --key-max-in-flight 2
"""

import os
from functools import cache

import redis
from flask import Flask, request
from flask.typing import ResponseReturnValue
from work import Export

from redis_message_queue import RedisGateway, RedisMessageQueue
from redis_message_queue.exceptions import QueueBackpressureError, RetryBudgetExhaustedError

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

app = Flask(__name__)


@cache
def exports() -> RedisMessageQueue:
    """The queue of this process, made by its first request: after the fork of a server that preloads."""
    client = redis.Redis.from_url(REDIS_URL, socket_connect_timeout=1, socket_timeout=2)
    # What a request asks is tried for so long, rather than for two minutes.
    gateway = RedisGateway(redis_client=client, retry_budget_seconds=2, max_pending_length=10_000)
    return RedisMessageQueue("exports", gateway=gateway, publish_timeout_seconds=2)


@app.errorhandler(RetryBudgetExhaustedError)
@app.errorhandler(redis.RedisError)
@app.errorhandler(QueueBackpressureError)
def try_again(error: Exception) -> ResponseReturnValue:
    """Redis is away, or the queue is full."""
    return {"detail": "try again"}, 503, {"Retry-After": "5"}


@app.post("/tenants/<tenant>/exports")
def ask(tenant: str) -> ResponseReturnValue:
    """Ask for an export; a click too many asks for the same one."""
    export = Export(tenant, str(request.get_json()["name"]))
    receipt = exports().enqueue(export, limit_key=tenant, deduplication_key=f"{tenant}/{export.name}")
    message_id = receipt.message_id if receipt else receipt.first_id
    return {"id": message_id}, 202, {"Location": f"/exports/{message_id}"}


@app.get("/exports/<message_id>")
def fetch(message_id: str) -> ResponseReturnValue:
    """Tell what became of it."""
    result = exports().result(message_id)
    if result is None:
        where = exports().find(message_id)
        if where.state != "unknown":
            return {"state": where.state}, 202
        result = exports().result(message_id)  # it may have ended between the two
    if result is None:
        return {"detail": "no such export, or not any more"}, 404
    status = 200 if result.state == "completed" else 422
    return {"state": result.state, "file": result.value, "reason": result.reason}, status


@app.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Whether this process answers; it does not ask Redis, which no restart of ours would bring back."""
    return {"state": "ok"}
