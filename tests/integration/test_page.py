"""The page in a real browser: what a person sees of it, and what hostile texts do not do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import redis
from tests.support.browser import MISSING, browsing, chromium
from tests.support.fake_platform import FakePlatform
from tests.support.observations import queue
from tests.support.page_history import Told, condition
from tests.support.required import required
from tests.support.waiting import until

from redis_message_queue.keys import QueueKeys
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.observe.redis.letters import Letters
from redisqueue_operator.serve.page.history import PageHistory
from redisqueue_operator.serve.page.server import PageServer
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Locator, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOSTILE = (
    "<script>document.title='hit'</script>",
    "<img src=x onerror=\"document.title='hit'\">",
    "</style><script>document.title='hit'</script>",
    '"><svg onload="document.title=\'hit\'">',
    "{{7*7}} ${7*7} &lt;b&gt; \x00\x1b[31m\u202e drawkcab",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with browsing(required(chromium(), MISSING)) as browser:
        yield browser


@asynccontextmanager
async def opened(
    browser: Browser, server: PageServer, path: str = "/", **options: Any
) -> AsyncIterator[Page]:
    """The page; the browser has nothing to say of it: no error, no violated policy, nothing loaded."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    said: list[str] = []
    own = f"http://localhost:{server.bound_port}/"
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(own) or said.append(f"asks for {asked.url}"))
    page.on("response", lambda told: told.status < 400 or said.append(f"{told.status} {told.url}"))
    try:
        await page.goto(own + path.lstrip("/"))
        yield page
        assert said == []
    finally:
        await context.close()


async def cells(page: Page, row: int = 0) -> list[str]:
    """The texts of a row of the first table."""
    return [
        text.strip() for text in await page.locator("tbody tr").nth(row).locator("th, td").all_inner_texts()
    ]


async def follow(link: Locator) -> None:
    """Click it, and wait until the page that it leads to is there."""
    async with link.page.expect_navigation():
        await link.click()


async def test_the_table_is_there_without_javascript_and_comes_anew_by_itself(browser: Browser) -> None:
    told = Told()
    told.see("emails", queue(1234, in_flight=5, delayed=6, failed=7, dead_letter=8, claims=9), ready=2)
    async with told.served() as server, opened(browser, server, java_script_enabled=False) as page:
        found = await cells(page)
        assert found[:7] == ["emails\nshop", "Running", "1\u202f234", "5", "6", "7", "8"]
        assert found[10].startswith("2\u202f/\u202f")
        again = page.locator("meta[http-equiv=refresh]")
        assert await again.get_attribute("content") == "10"
        await follow(page.get_by_role("link", name="Stop refreshing"))
        assert await again.count() == 0
        await follow(page.get_by_role("link", name="emails"))
        assert await page.get_by_role("heading", level=1).inner_text() == "shop/emails"
        assert await page.locator("svg.plot").count() == 3
        await follow(page.get_by_role("link", name="RedisQueue"))
        assert "refresh=off" in page.url


async def test_the_script_shows_what_is_new_and_leaves_alone_what_is_being_written(browser: Browser) -> None:
    told = Told()
    told.see("emails", queue(1))
    async with told.served() as server, opened(browser, server) as page:
        await page.clock.install()
        await page.reload()
        assert await page.locator("meta[http-equiv=refresh]").count() == 0
        field, link = page.get_by_label("Name"), page.get_by_role("link", name="emails")
        await field.fill("mai")
        told.now += 2
        told.see("emails", queue(77))
        await page.clock.run_for(5100)
        await page.get_by_role("cell", name="77", exact=True).wait_for()
        assert await field.input_value() == "mai"
        await link.focus()
        told.now += 2
        told.see("emails", queue(78))
        await page.clock.run_for(5100)
        await page.get_by_role("cell", name="78", exact=True).wait_for()
        assert await link.evaluate("each => document.activeElement === each")


async def test_an_operator_that_is_gone_is_told_and_so_is_that_it_is_back(browser: Browser) -> None:
    told = Told()
    told.see("emails", queue(1))
    context = await browser.new_context()
    page = await context.new_page()
    async with told.served() as server:
        await page.clock.install()
        await page.goto(f"http://localhost:{server.bound_port}/")
    lost = page.get_by_role("status")
    await page.clock.run_for(5100)
    await lost.filter(has_text="what is shown is old: it cannot be reached").wait_for()
    assert await page.get_by_role("cell", name="1", exact=True).count() == 1
    again = told.served()
    again._port = server.bound_port
    async with again:
        told.unready = "The operator starts."
        await page.clock.run_for(5100)
        await page.get_by_text("The operator starts.").wait_for()
        await page.get_by_role("heading", name="Nothing to show here").wait_for()
        await lost.wait_for(state="hidden")
        told.unready = ""
        told.now += 1
        await page.clock.run_for(5100)
        await page.get_by_role("heading", name="RedisQueue").wait_for()
        assert await page.get_by_label("Name").count() == 1
        assert (await cells(page))[2] == "1"
    await context.close()


async def test_whatever_comes_from_the_cluster_or_from_redis_is_text(browser: Browser) -> None:
    told = Told()
    for number, text in enumerate(HOSTILE):
        name = f"name-{number}" if "\x00" in text else text  # what a URL of ours can have in it
        key = told.see(name, queue(number), namespace=name, state=text, conditions=(
            condition("Ready", "False", text, text),
        ))  # fmt: skip
        told.explained[key] = [text]
        told.history.scaled(key, 0, 1, text)
    told.letters = {
        "dead letters": Letters(tuple((text, 3) for text in HOSTILE), 15),
        "failed": Letters(unknown=""),
    }
    async with told.served(foot=HOSTILE[0]) as server:
        async with opened(browser, server, "/?q=%3Cscript%3E") as page:
            assert await page.get_by_label("Name").input_value() == "<script>"
        async with opened(browser, server) as page:
            assert await page.title() == "RedisQueue"
            rows = page.locator("tbody tr")
            assert await rows.count() == len(HOSTILE)
            text = await page.locator("tbody").inner_text()
            assert HOSTILE[0] in text
            assert HOSTILE[1] in text
            assert not {"\x00", "\x1b", "\u202e"} & {*text}
            for number in range(len(HOSTILE)):
                await follow(rows.nth(number).get_by_role("link"))
                assert (await page.title()).endswith("· RedisQueue")
                assert await page.get_by_role("heading", level=1).count() == 1
                await page.go_back()
            assert await page.locator("script").count() == 1


async def test_the_policy_stops_what_would_get_in_all_the_same(browser: Browser) -> None:
    told = Told()
    told.see("emails", queue(1))
    async with told.served() as server:
        context = await browser.new_context()
        page = await context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        await page.goto(f"http://localhost:{server.bound_port}/")
        await page.evaluate(
            """() => {
              const script = document.createElement("script");
              try { script.text = "document.title = 'hit'"; document.body.append(script); } catch (refused) {}
              const image = document.createElement("img");
              image.src = "/elsewhere.png";
              document.body.append(image);
            }"""
        )
        await until(lambda: any("img-src" in text or "default-src" in text for text in said), "it is refused")
        assert await page.title() == "RedisQueue"
        await context.close()


async def test_a_thousand_queues_come_in_pages_that_can_be_sorted_and_searched(browser: Browser) -> None:
    told = Told()
    told.fleet(1000)
    async with told.served() as server, opened(browser, server) as page:
        assert await page.locator("tbody tr").count() == 50
        await follow(page.get_by_role("link", name="Next"))
        assert (await cells(page))[0].startswith("queue-0050")
        await follow(page.get_by_role("link", name="Pending"))
        assert (await cells(page))[0].startswith("queue-0000")
        head = page.get_by_role("columnheader", name="Pending")
        assert await head.get_attribute("aria-sort") == "descending"
        await page.get_by_label("Name").fill("queue-0999")
        await follow(page.get_by_role("button", name="Filter"))
        assert (await page.locator("tbody tr").count(), (await cells(page))[2]) == (1, "1")
        await page.get_by_label("Show").select_option("attention")
        await follow(page.get_by_role("button", name="Filter"))
        await page.get_by_text("No queue is like that.").wait_for()


async def test_a_phone_scrolls_the_table_and_not_the_page(browser: Browser) -> None:
    told = Told()
    told.see("a-queue-with-quite-a-long-name-of-its-own", queue(10**9), ready=10)
    for path in ("/", "/queues/shop/a-queue-with-quite-a-long-name-of-its-own"):
        size = {"width": 360, "height": 640}
        async with told.served() as server, opened(browser, server, path, viewport=size) as page:
            fits = "() => document.documentElement.scrollWidth <= innerWidth"
            assert await page.evaluate(fits), path


CONTRAST = """() => {
  const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const weights = [0.2126, 0.7152, 0.0722];
  const light = colour => weights.reduce((sum, each, i) => sum + each * channel(colour[i] / 255), 0);
  const ground = each => {
    for (let at = each; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || each.closest("svg") || !each.checkVisibility()) continue;
    const [one, two] = [light(parts(getComputedStyle(each).color)), light(ground(each))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) low.push(`${each.tagName} ${each.className} ${each.textContent.trim()} ${ratio}`);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_text_can_be_read_and_each_field_has_a_name(browser: Browser, scheme: str) -> None:
    told = Told()
    states = ("Running", "Idle", "ScalingUp", "Degraded", "NoRedis")
    for number, state in enumerate(states):
        bad = (condition("Degraded", "True", "Why", "Because"), condition("RedisReachable", "True"))
        told.see(
            state.lower(), queue(1, dead_letter=number) if number < 4 else None, state=state, conditions=bad
        )
    told.letters = {"dead letters": Letters((("ValueError", 2),), 2), "failed": Letters()}
    async with told.served() as server:
        for path in ("/", "/queues/shop/degraded", "/queues/shop/noredis"):
            async with opened(browser, server, path, color_scheme=scheme) as page:
                assert await page.evaluate(CONTRAST) == [], path
                nameless = page.locator(
                    "input:not([type=hidden]), select, button, a, [role=region], [role=img]"
                )
                names = [await each.evaluate("e => (e.labels?.[0] ?? e).textContent || e.ariaLabel")
                         for each in await nameless.all()]  # fmt: skip
                assert all(name.strip() for name in names), path
                heads = page.locator("thead th")
                assert await heads.count() == await page.locator("thead th[scope=col]").count()
                assert await page.evaluate("() => document.documentElement.lang") == "en"


async def test_a_redis_that_goes_away_is_unknown_on_the_page_and_never_zero(browser: Browser) -> None:
    with EmbeddedRedis() as redis_server:
        platform = FakePlatform(redis_server.url)
        history = PageHistory()
        engine, stop = Engine(platform, page=history), asyncio.Event()
        task = asyncio.create_task(engine.run(stop))
        server = PageServer(0, history=history, explain=engine.explain, letters=engine.letters)
        try:
            async with server:
                key = platform.put("jobs", scaling={"mode": "Paused"})
                with redis.Redis.from_url(redis_server.url) as client:
                    client.lpush(QueueKeys("jobs").pending, "m")
                engine.notify(key)
                await until(
                    lambda: platform.status(key).get("queue", {}).get("pending") == 1, "it is sampled"
                )
                async with opened(browser, server, "/queues/default/jobs") as page:
                    assert "1 pending" in await page.locator(".why").inner_text()
                redis_server.stop()
                await until(lambda: platform.status(key).get("state") == "NoRedis", "it is seen to be away")
                async with opened(browser, server) as page:
                    found = await cells(page)
                    assert found[1].startswith("NoRedis")
                    assert found[2:10] == ["?"] * 8
                    said = await page.locator(".cards").inner_text()
                    assert "?" in said
                async with opened(browser, server, "/queues/default/jobs") as page:
                    await page.get_by_text("Not known: Nothing accepts connections").wait_for()
        finally:
            stop.set()
            await task


async def test_the_pages_pictures_are_drawn(browser: Browser, tmp_path: Path) -> None:
    """`make pictures` draws them: here, of a small fleet, that what it does still works."""
    from tests.pictures.page import shot

    told = Told()
    told.see("emails", queue(3))
    async with told.served() as server:
        drawn = await shot(browser, f"http://127.0.0.1:{server.bound_port}/", {"color_scheme": "dark"})
    assert drawn.startswith(b"\x89PNG")
    assert len(drawn) < 150_000
