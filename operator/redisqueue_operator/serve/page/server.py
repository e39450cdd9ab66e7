"""The page over HTTP: read-only, on a port of its own, for browsers that mean it and no page of others."""

from __future__ import annotations

import ipaddress
import re
import time
from typing import TYPE_CHECKING

from aiohttp import web

from redisqueue_operator.api import Key
from redisqueue_operator.serve.page.elements import element
from redisqueue_operator.serve.page.fleet_page import fleet_page
from redisqueue_operator.serve.page.frame import POLICY, framed, link
from redisqueue_operator.serve.page.history import BIN_SECONDS, BINS
from redisqueue_operator.serve.page.model import Query, QueryError, fleet_view, queue_view
from redisqueue_operator.serve.page.queue_page import queue_page
from redisqueue_operator.serve.runner import runner_of
from redisqueue_worker.health import listening

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from redisqueue_operator.observe.redis.letters import Letters
    from redisqueue_operator.serve.page.history import PageHistory

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LOOPBACK, EVERYWHERE = "127.0.0.1", ""
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::\d+)?", re.ASCII)
OWN_HOSTS = frozenset(("localhost",))
KEPT_SECONDS, KEPT = 1.0, 16
"""So long, and so many pages: who opens many tabs costs the operator no more than one of them."""
KEEPALIVE_SECONDS = 15.0
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class PageServer:
    """Serves the page; an async context manager.

    Args:
        port: 0 takes a free one; `bound_port` says which.
        hosts: names by which browsers of elsewhere reach it. Without any it listens at the loopback address
            alone, which is what `kubectl port-forward` connects to.
        history: what is shown.
        explain: the live decision about a queue in lines; None when it is not known.
        letters: why letters of a queue were given up.
        unready: why there is nothing to show yet, or not here; empty when there is.
        foot: the line at the bottom.
        wall: seconds since the epoch.

    Raises OSError when the port is taken.
    """

    def __init__(
        self,
        port: int,
        *,
        hosts: Collection[str] = (),
        history: PageHistory,
        explain: Callable[[Key], Sequence[str] | None],
        letters: Callable[[Key], Awaitable[Mapping[str, Letters]]],
        unready: Callable[[], str] = str,
        foot: str = "RedisQueue",
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._port = port
        self.bound_port = port
        self._hosts = OWN_HOSTS | {host.lower().rstrip(".") for host in hosts}
        self._address = EVERYWHERE if hosts else LOOPBACK
        self._history = history
        self._explain = explain
        self._letters = letters
        self._unready = unready
        self._foot = f"{foot} · times are UTC · this page only shows"
        self._wall = wall
        self._made: dict[str, tuple[float, str]] = {}
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/", self._fleet)
        application.router.add_get("/queues/{namespace}/{name}", self._queue)
        application.on_response_prepare.append(_with_headers)
        self._runner = runner_of(application, keepalive_timeout=KEEPALIVE_SECONDS)

    async def __aenter__(self) -> PageServer:
        await self._runner.setup()
        try:
            listener = listening(self._address, self._port)
        except OSError:
            await self._runner.cleanup()
            raise
        await web.SockSite(self._runner, listener).start()
        self.bound_port = int(listener.getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Foreign names get nothing; what is refused is told as text."""
        host = request.headers.get("Host", "")
        if not is_own(host, self._hosts):
            text = (
                f"This page is not called {host[:200]!r}: open it as localhost (kubectl port-forward), or "
                "name that host to the operator (--page-hosts, chart value page.hosts).\n"
            )
            return web.Response(text=text, status=421)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as refused:
            refused.text = "This page is read-only: GET and HEAD are all there is.\n"
            raise
        except QueryError as problem:
            return self._told(400, "Bad request", str(problem))
        except web.HTTPNotFound:
            return self._told(404, "Not found", "There is no such page.")

    async def _fleet(self, request: web.Request) -> web.StreamResponse:
        query = Query.read(request.query)
        if unready := self._unready():
            return self._wait(unready)

        def make() -> str:
            return fleet_page(fleet_view(self._history, query), self._wall(), self._foot)

        return _html(self._kept(str(query), make))

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        query = Query.read(request.query)
        if unready := self._unready():
            return self._wait(unready)
        key = Key(request.match_info["namespace"], request.match_info["name"])
        if key not in self._history.queues:
            return self._told(404, "Not found", f"No RedisQueue {key} is known here.")
        letters = await self._letters(key)
        explained = self._explain(key) or ()

        def make() -> str:
            view = queue_view(self._history, key, explained, letters)
            if view is None:  # it went while Redis was asked
                raise web.HTTPNotFound
            now, wall = self._history.clock(), self._wall()
            first_bin_at = wall - now % BIN_SECONDS - (BINS - 1) * BIN_SECONDS
            return queue_page(view, query, wall, first_bin_at, self._foot)

        return _html(self._kept(f"{key} {query.refresh}", make))

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        now = self._history.clock()
        made_at, text = self._made.pop(name, (now - KEPT_SECONDS, ""))
        if now - made_at >= KEPT_SECONDS:
            made_at, text = now, make()
        self._made[name] = made_at, text
        while len(self._made) > KEPT:
            del self._made[next(iter(self._made))]
        return text

    def _wait(self, why: str) -> web.Response:
        """Somebody else has it, or nobody yet: the next try may reach another replica."""
        answer = self._told(503, "Nothing to show here", why, refresh=True)
        answer.headers["Retry-After"] = "2"
        answer.force_close()
        return answer

    def _told(self, status: int, title: str, text: str, *, refresh: bool = False) -> web.Response:
        crumbs = [element("h1", None, title)]
        live = [element("p", None, text), element("p", None, link("/", {}, "All queues"))]
        page = framed(f"{title} · RedisQueue", crumbs, (), live, foot=self._foot, refresh=refresh)
        return _html(page, status)


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)


async def _with_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.pop("Server", None)


def is_own(host: str, names: Collection[str]) -> bool:
    """Whether a Host header is one that this page answers to: a name of ours, or a bare address.

    A page of somebody else can have its name resolve to this address (DNS rebinding), but be no bare address.
    """
    if (found := _HOST.fullmatch(host.lower())) is None:
        return False
    name = found["name"] or found["address"]
    if name.rstrip(".") in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
