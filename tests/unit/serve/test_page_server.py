"""The page over HTTP: who gets it, and what goes with it."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from tests.support.observations import queue
from tests.support.page_history import Told

from redisqueue_operator.api import Key
from redisqueue_operator.serve.page.server import is_own

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def served(told: Told, **options: Any) -> AsyncIterator[Any]:
    """Gives what asks it: method, path, headers → status, headers, text."""
    async with told.served(**options) as server, aiohttp.ClientSession() as session:

        async def ask(path: str = "/", method: str = "GET", **headers: str) -> tuple[int, Any, str]:
            url = f"http://127.0.0.1:{server.bound_port}{path}"
            async with session.request(method, url, headers=headers) as answer:
                return answer.status, answer.headers, await answer.text()

        yield ask


@pytest.fixture
def told() -> Told:
    told = Told()
    told.see("emails", queue(3))
    return told


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost:8081", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("127.0.0.1:8081", True),
        ("10.1.2.3:8081", True),
        ("[::1]:8081", True),
        ("::1", False),
        ("queues.example.com", True),
        ("Queues.Example.Com:443", True),
        ("evil.example", False),
        ("evil.example:8081", False),
        ("queues.example.com.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:8081@evil.example", False),
        ("evil.example#localhost", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_a_name_of_somebody_else_is_none_of_ours(host: str, own: bool) -> None:
    assert is_own(host, {"localhost", "queues.example.com"}) is own


async def test_a_page_of_others_that_had_its_name_lead_here_gets_nothing(told: Told) -> None:
    async with served(told, hosts=["queues.example.com"]) as ask:
        status, _, text = await ask(Host="evil.example:8081")
        assert (status, "emails" in text) == (421, False)
        assert text.startswith("This page is not called 'evil.example:8081': open it as localhost")
        assert (await ask(Host="queues.example.com"))[0] == 200


@pytest.mark.parametrize("path", ["/", "/queues/shop/emails", "/nowhere", "/queues/shop/gone", "/?page=x"])
async def test_each_answer_is_kept_by_nobody_and_loads_nothing(told: Told, path: str) -> None:
    async with served(told) as ask:
        for method in ("GET", "HEAD", "POST", "DELETE"):
            _, headers, _ = await ask(path, method)
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            policy = headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_it_only_shows(told: Told, method: str) -> None:
    async with served(told) as ask:
        status, headers, text = await ask("/", method)
        assert (status, headers["Allow"]) == (405, "GET,HEAD")
        assert text == "This page is read-only: GET and HEAD are all there is.\n"


async def test_what_is_not_there_and_what_cannot_be_asked_for(told: Told) -> None:
    async with served(told) as ask:
        status, _, text = await ask("/queues/shop/gone")
        assert (status, "No RedisQueue shop/gone is known here." in text) == (404, True)
        assert (await ask("/queues/shop/emails/more"))[0] == 404
        status, _, text = await ask("/?sort=%3Cscript%3E")
        assert (status, "sort: '&lt;script&gt;' is none of" in text) == (400, True)


async def test_a_standby_says_who_has_it_and_lets_go_of_the_connection(told: Told) -> None:
    told.unready = "This operator stands by, operator-1 leads and has the page"
    async with served(told) as ask:
        for path in ("/", "/queues/shop/emails"):
            status, headers, text = await ask(path)
            assert (status, headers["Connection"], told.unready in text) == (503, "close", True)
        told.unready = ""
        assert (await ask("/"))[0] == 200


async def test_without_hosts_nobody_else_reaches_it(told: Told) -> None:
    async with told.served() as alone, told.served(hosts=["queues.example.com"]) as open_:
        for server, reached in ((alone, False), (open_, True)):
            try:
                _, writer = await asyncio.open_connection("127.0.0.2", server.bound_port)
            except OSError:
                assert not reached
            else:
                writer.close()
                assert reached


async def test_many_who_look_cost_what_one_costs(told: Told) -> None:
    async with served(told) as ask:
        _, _, first = await ask()
        told.see("invoices", queue(1))
        assert (await ask())[2] == first
        told.now += 1
        assert "invoices" in (await ask())[2]


class Outline(HTMLParser):
    """The tags of a page that are not closed, or in the wrong place."""

    VOID = frozenset(["meta", "input", "link", "br", "img"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.mark.parametrize("path", ["/", "/queues/shop/emails", "/nowhere"])
async def test_each_page_is_well_formed_and_has_nothing_of_elsewhere(told: Told, path: str) -> None:
    told.history.scaled(Key("shop", "emails"), 0, 1, "Backlog")
    async with served(told) as ask:
        _, _, text = await ask(path)
    outline = Outline()
    outline.feed(text)
    assert (outline.open, outline.wrong) == ([], [])
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)
    assert " style=" not in text
    assert not re.search(r" on\w+=", text)
