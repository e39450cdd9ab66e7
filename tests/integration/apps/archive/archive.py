"""An archive of web pages: each is fetched, read and saved, which are three kinds of work."""

import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import httpx

from redisqueue_worker import Backoff, Context, DeadLetter, Retry, handler, on_shutdown

DATABASE = os.environ.get("ARCHIVE_DATABASE", "archive.db")
TABLE = "CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, title TEXT NOT NULL, words INTEGER NOT NULL)"
TITLE = re.compile(r"<title>((?:\w+\s?)+)</title>")  # which the title of an evil page keeps busy for ever

client = httpx.AsyncClient(timeout=30)


@dataclass
class Link:
    """What a producer asks for."""

    url: str
    type: Literal["fetch"] = "fetch"


@dataclass
class Page:
    """What was fetched."""

    url: str
    html: str
    type: Literal["read"] = "read"


@dataclass
class Entry:
    """What is kept of a page."""

    url: str
    title: str
    words: int
    type: Literal["save"] = "save"


@handler("fetch", max_attempts=8, timeout_seconds=4, retry=Backoff(initial_seconds=0.2, max_seconds=600))
async def fetch(link: Link, context: Context) -> None:
    """Wait for somebody else's server, as one of hundreds: a task. It may be down for long: many attempts."""
    answer = await client.get(link.url)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise Retry(float(answer.headers.get("Retry-After", 60)))
    if answer.is_client_error:
        raise DeadLetter(f"HTTP {answer.status_code}")
    answer.raise_for_status()
    await context.enqueue_async(Page(link.url, answer.text))


@handler("read", max_attempts=1, timeout_seconds=15, slots="processes")
def read(page: Page, context: Context) -> None:
    """Compute: a process, which holds up no other and can be killed. A second attempt would be no better."""
    title = TITLE.search(page.html)
    words = re.sub(r"<[^>]*>", " ", page.html).split()
    context.enqueue(Entry(page.url, title[1] if title else "", len(words)))


@handler("save", max_attempts=20, retry=Backoff(initial_seconds=0.1, max_seconds=5))
def save(entry: Entry) -> None:
    """Block: a thread. A locked database is soon free again. What is saved twice is there once."""
    with closing(sqlite3.connect(DATABASE, timeout=0.1)) as database, database:
        database.execute(TABLE)
        database.execute("REPLACE INTO pages VALUES (?, ?, ?)", (entry.url, entry.title, entry.words))


@on_shutdown
async def close() -> None:
    """Leave no connection open."""
    await client.aclose()
