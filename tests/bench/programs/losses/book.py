"""The handler of all contestants of Python in `make bench-losses`: it keeps a book outside Redis."""

from __future__ import annotations

import asyncio
import os
import time

URL = os.environ["LOSSES_URL"]
SECONDS = float(os.environ["LOSSES_SECONDS"])
DRAIN_SECONDS = int(os.environ["LOSSES_DRAIN_SECONDS"])
# A shutdown that interrupts threads can do so between two of these, not in a long sleep.
STEP_SECONDS = 0.1


def write(what: str, message: str) -> None:
    """One line, whole, whoever else writes."""
    book = os.open(os.environ["LOSSES_BOOK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(book, f"{what} {message} {time.time():.3f}\n".encode())
    os.close(book)


def handle(message: str) -> None:
    """Take a while, on a thread or in a process."""
    write("began", message)
    end = time.monotonic() + SECONDS
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, STEP_SECONDS))
    write("ended", message)


async def handle_async(message: str) -> None:
    """Take a while, on an event loop."""
    write("began", message)
    await asyncio.sleep(SECONDS)
    write("ended", message)
