"""A proxy in front of a test API server: it refuses by rule, cuts watches, remembers what was written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import yaml
from aiohttp import web
from tests.support.waiting import PATIENCE_SECONDS
from yarl import URL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

_HOP_BY_HOP = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in the server's place, which never sees the request."""

    status: int
    reason: str
    headers: dict[str, str] = field(default_factory=dict)


TOO_MANY = Refusal(429, "TooManyRequests", {"Retry-After": "1"})
CONFLICT = Refusal(409, "Conflict")

_EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'

Rule = Callable[[str, str], "Refusal | None"]
"""Decides about each request by its method and path."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that went through the proxy; `status` is the answer's."""

    method: str
    path: str
    body: Any
    status: int

    @property
    def done(self) -> bool:
        return self.status < 300


class ApiProxy:
    """Forwards to `server`; a context manager. `kubeconfig` leads here.

    With `watches_expired` every watch that asks to go on hears that it must list anew.
    """

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.rule: Rule = lambda _method, _path: None
        self._writes: list[Write] = []
        self._under_way: set[int] = set()  # writes whose answer nobody has heard yet
        self._answered = threading.Condition()
        self.refused = 0
        self.watches_expired = False
        self.kubeconfig = folder / f"proxy-{id(self)}"
        self._server = server
        self._watches: dict[int, web.Request] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> ApiProxy:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(PATIENCE_SECONDS)

    @property
    def watches(self) -> int:
        """How many are open."""
        return len(self._watches)

    def cut_watches(self) -> int:
        """Break every connection that a watch streams over; how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(PATIENCE_SECONDS)

    @property
    def writes(self) -> list[Write]:
        """The writes so far, but those of Leases.

        Whoever looks at the server itself sees what a write did before its answer has come by here: so
        those under way are waited for.
        """
        with self._answered:
            begun = set(self._under_way)
            assert self._answered.wait_for(lambda: not begun & self._under_way, PATIENCE_SECONDS), begun
            return list(self._writes)

    def written(self, part: str) -> list[Write]:
        """The writes so far whose path has this part and which the server did."""
        return [write for write in self.writes if part in write.path and write.done]

    async def _cut(self) -> int:
        watches = tuple(self._watches.values())
        for request in watches:
            if request.transport is not None:
                request.transport.abort()
        return len(watches)

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        connector = aiohttp.TCPConnector(ssl=False, limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as self._session:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            config = yaml.safe_load(self._server.kubeconfig.read_text())
            port = runner.addresses[0][1]
            config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
            self.kubeconfig.write_text(yaml.safe_dump(config))
            self._ready.set()
            await self._ended.wait()
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        with self._write(request):
            return await self._answer(request, body)

    async def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        refusal = self.rule(request.method, request.path)
        if refusal is not None:
            self.refused += 1
            self._keep(request, body, refusal.status)
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": refusal.status}
            answer = {**status, "reason": refusal.reason, "message": f"{refusal.reason} by the proxy"}
            return web.json_response(answer, status=refusal.status, headers=refusal.headers)
        if request.query.get("watch") in ("true", "1"):
            if self.watches_expired:
                return web.Response(body=_EXPIRED, content_type="application/json")
            self._watches[id(request)] = request
        try:
            return await self._forward(request, body)
        except aiohttp.ClientError:
            if request.transport is not None:
                request.transport.abort()  # as if nobody had listened here either
            raise web.HTTPBadGateway from None
        finally:
            self._watches.pop(id(request), None)

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {name: text for name, text in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = URL(self._server.url + request.raw_path, encoded=True)
        async with self._session.request(
            request.method,
            url,
            headers=headers,
            data=body or None,
            timeout=aiohttp.ClientTimeout(sock_connect=5),
        ) as upstream:
            self._keep(request, body, upstream.status)  # before anybody hears that it is done
            kept = {name: text for name, text in upstream.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=upstream.status, headers=kept)
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        return response

    @contextlib.contextmanager
    def _write(self, request: web.Request) -> Iterator[None]:
        if not _is_write(request):
            yield
            return
        with self._answered:
            self._under_way.add(id(request))
        try:
            yield
        finally:
            with self._answered:
                self._under_way.discard(id(request))
                self._answered.notify_all()

    def _keep(self, request: web.Request, body: bytes, status: int) -> None:
        if _is_write(request):
            with self._answered:
                self._writes.append(
                    Write(request.method, request.path, json.loads(body) if body else None, status)
                )


def _is_write(request: web.Request) -> bool:
    return request.method != "GET" and "/leases" not in request.path
