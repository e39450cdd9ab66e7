"""/livez, /readyz, /metrics and /explain on one small HTTP server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from redisqueue_operator.serve.runner import runner_of
from redisqueue_worker.health import listening

Answer = Callable[[web.Request], Awaitable[web.Response]]


class HealthServer:
    """Answers probes from two functions; an async context manager.

    Args:
        port: 0 takes a free one; `bound_port` says which.
        live: why the process should be restarted, empty when it should not.
        ready: why it does not do its work yet, empty when it does.
        remark: what is to be told of one that does; empty for nothing.
        explain: the live decision about the RedisQueue of a namespace and name, line by line; None when this
            process knows none of that name.
    """

    def __init__(
        self,
        port: int,
        *,
        live: Callable[[], str],
        ready: Callable[[], str],
        remark: Callable[[], str] = str,
        explain: Callable[[str, str], list[str] | None],
        registry: CollectorRegistry,
    ) -> None:
        self._port = port
        self.bound_port = port
        application = web.Application()
        application.router.add_get("/livez", _probe(live))
        application.router.add_get("/readyz", _probe(ready, remark))
        application.router.add_get("/metrics", _metrics(registry))
        application.router.add_get("/explain/{namespace}/{name}", _explanation(explain))
        self._runner = runner_of(application)

    async def __aenter__(self) -> HealthServer:
        await self._runner.setup()
        listener = listening("", self._port)
        await web.SockSite(self._runner, listener).start()
        self.bound_port = int(listener.getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _probe(check: Callable[[], str], remark: Callable[[], str] = str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        if problem := check():
            return web.Response(text=f"{problem}\n", status=503)
        told = remark()
        return web.Response(text=f"ok; {told}\n" if told else "ok\n")

    return answer


def _explanation(explain: Callable[[str, str], list[str] | None]) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        lines = explain(request.match_info["namespace"], request.match_info["name"])
        if lines is None:
            return web.Response(text="not known here\n", status=404)
        return web.Response(text="".join(f"{line}\n" for line in lines))

    return answer


def _metrics(registry: CollectorRegistry) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
