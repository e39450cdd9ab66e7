"""The small projects in `apps/` do what they say: types by mypy, and each as its users run it."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from tests.support.apps import ASKED_FOR, SAVED, Site, copy_of, site
from tests.support.local_mode import local_mode
from tests.support.programs import output_of
from tests.support.waiting import eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

TYPED = {"archive": ["."], "moving": ["shop.py", "with_redisqueue"], "reports": ["."], "exports": ["."]}


def python(folder: Path, *words: str) -> str:
    """What Python prints there; it has to end well."""
    return output_of(sys.executable, *words, folder=folder)


@pytest.fixture(scope="module")
def known_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has read of the packages."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("app", TYPED)
def test_the_types_of_an_app_are_whole(app: str, tmp_path: Path, known_types: Path) -> None:
    folder = copy_of(app, tmp_path)
    python(folder, "-m", "mypy", "--strict", "--cache-dir", str(known_types), *TYPED[app])


# ---- the archive ----


@pytest.fixture
def web() -> Iterator[str]:
    """The URL of a site."""
    with site() as url:
        yield url


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else may write meanwhile."""
    with closing(sqlite3.connect(database, isolation_level=None)) as mine:
        mine.execute("BEGIN EXCLUSIVE")
        yield
        mine.execute("COMMIT")


def saved(database: Path) -> dict[str, tuple[str, int]]:
    """Title and words of each page."""
    with closing(sqlite3.connect(database)) as mine, suppress(sqlite3.OperationalError):  # no table yet
        return {url: (title, words) for url, title, words in mine.execute("SELECT * FROM pages")}
    return {}


def test_three_kinds_of_work_have_one_worker(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, web: str
) -> None:
    folder = copy_of("archive", tmp_path)
    check = ("-m", "redisqueue_worker.cli", "check", "archive", "--queue", "archive")
    told = python(folder, *check, "--redis-url", redis_url, "--max-delivery-count", "30")
    for policy in (
        "fetch: tasks, timeout 4 s, 8 attempts, backoff 0.2 s to 600 s",
        "read: processes, timeout 15 s, 1 attempt",
        "save: threads, no timeout, 20 attempts, backoff 0.1 s to 5 s",
    ):
        assert f"handler  {policy}" in told

    database, queue = folder / "archive.db", RedisMessageQueue("archive", client=redis_client)
    pages = [web + path for path in ASKED_FOR]
    with local_mode(folder, "queue.yaml", redis_url) as output:
        with locked(database):
            assert python(folder, "add.py", redis_url, *pages).count("is fetched") == 6
            assert "tea was asked for today" in python(folder, "add.py", redis_url, pages[0])
            eventually(lambda: "database is locked" in output.read_text(), "a thread met the lock")
        eventually(lambda: len(saved(database)) == 4, "four pages are saved")
        eventually(lambda: queue.failed() and queue.dead_letters(), "the others are given up")

    assert saved(database) == {web + path: found for path, found in SAVED.items()}
    (gone,), (evil,) = queue.dead_letters(), queue.failed()
    assert gone.reason == "HTTP 404"
    assert str(evil.reason).startswith("timeout: "), "a process was killed, and nothing else was held up"
    assert Site.asked.count("/gone") == 1, "which is never tried again"
    assert min(Site.asked.count(path) for path in ("/slow", "/busy")) >= 2
