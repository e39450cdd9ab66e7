"""The operator's page, of a simulated fleet: light and dark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.async_api import Error
from tests.pictures.fleet import Played
from tests.support.browser import browsing

from redisqueue_operator.serve.page.server import PageServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from playwright.async_api import Browser, Page

PICTURES: dict[str, dict[str, Any]] = {
    "page-light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "page-dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "queue-light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "queue-dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
}
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Resolved when two frames have been drawn."""
REFUSED, ASKED_AT_MOST = "Unable to capture screenshot", 5
COLOURS = 128
"""Of a picture: drawings need no more, and files are a third as large."""


async def draw(chromium: Path, folder: Path) -> None:
    """Write all pictures into the folder."""
    played = Played()
    server = PageServer(
        0,
        history=played.history,
        explain=played.explained.get,
        letters=played.letters,
        foot="redisqueue-operator",
        wall=lambda: played.wall,
    )
    async with server, browsing(chromium) as browser:
        for name, options in PICTURES.items():
            path = "queues/shop/invoices" if name.startswith("queue") else ""
            url = f"http://127.0.0.1:{server.bound_port}/{path}?refresh=off"
            (folder / f"{name}.png").write_bytes(await shot(browser, url, options))


async def shot(browser: Browser, url: str, options: dict[str, Any]) -> bytes:
    """The whole page behind this URL, as PNG."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    await page.goto(url)
    taken = await captured(page, lambda: page.screenshot(full_page=True))
    await context.close()
    return small(taken)


async def shot_of(browser: Browser, content: str) -> bytes:
    """The first `pre` of this page, as PNG."""
    page = await browser.new_page(viewport={"width": 1280, "height": 400})
    await page.set_content(content)
    taken = await captured(page, page.locator("pre").screenshot)
    await page.close()
    return small(taken)


async def captured(page: Page, take: Callable[[], Awaitable[bytes]]) -> bytes:
    """The picture, once the page is on the screen: a Chromium that has just started may refuse until then."""
    for _ in range(ASKED_AT_MOST - 1):
        await page.evaluate(FRAMES)
        try:
            return await take()
        except Error as error:
            if REFUSED not in str(error):
                raise
    return await take()


def small(png: bytes) -> bytes:
    """The same with few colours."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return packed.getvalue()
