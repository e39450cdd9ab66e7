"""A real Chromium without a screen, driven by Playwright: the machine's own, none is downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MISSING = "a Chromium is missing: apt-get install chromium-headless-shell"


def chromium() -> Path | None:
    """The browser of this machine: $REDISQUEUE_CHROMIUM, or the first of the usual names."""
    named = os.environ.get("REDISQUEUE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    return Path(found) if found else None


@asynccontextmanager
async def browsing(path: Path) -> AsyncIterator[Browser]:
    """The browser, until the end of the block."""
    # Its sandbox needs rights that most containers do not have; it opens pages of these tests alone.
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()
