"""The operator's page, of a simulated fleet: light and dark."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image
from tests.pictures.fleet import Played
from tests.support.browser import browsing

from redisqueue_operator.serve.page.server import PageServer

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

PICTURES: dict[str, dict[str, Any]] = {
    "page-light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "page-dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "queue-light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "queue-dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
}
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
    context = await browser.new_context(**options)
    page = await context.new_page()
    await page.goto(url)
    shot = await page.screenshot(full_page=True)
    await context.close()
    small = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True
    )
    return small.getvalue()
