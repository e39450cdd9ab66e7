"""The small projects in `apps/` do what they say: types by mypy, and each as its users run it."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import threading
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.local_mode import local_mode
from tests.support.programs import output_of
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

APPS = Path(__file__).parent / "apps"
TYPED = {"archive": ["."], "moving": ["shop.py", "with_redisqueue"], "reports": ["."], "exports": ["."]}


def python(folder: Path, *words: str) -> str:
    """What Python prints there; it has to end well."""
    return output_of(sys.executable, *words, folder=folder)


def copy_of(app: str, folder: Path) -> Path:
    """The project, where nothing of this repository's tests is near."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(APPS / app, folder / app, ignore=ignored))


@pytest.fixture(scope="module")
def known_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has read of the packages."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize("app", TYPED)
def test_the_types_of_an_app_are_whole(app: str, tmp_path: Path, known_types: Path) -> None:
    folder = copy_of(app, tmp_path)
    python(folder, "-m", "mypy", "--strict", "--cache-dir", str(known_types), *TYPED[app])


# ---- the archive ----

PAGES = {
    "/tea": "<title>All about tea</title> <p>Pour, and wait.</p>",
    "/milk": "<title>Milk</title> <p>First or last?</p>",
    "/evil": f"<title>{'a' * 60}!</title>",
}
HELD_SECONDS = PATIENCE_SECONDS * 2


class Site(BaseHTTPRequestHandler):
    """Two fine pages, one that no regular expression can bear; one answers late, one when asked again."""

    asked: list[str]
    over: threading.Event

    def do_GET(self) -> None:
        first, path = self.path not in self.asked, self.path
        self.asked.append(path)
        if path == "/slow" and first:
            self.over.wait(HELD_SECONDS)
        if path == "/busy" and first:
            path = "/later"
        elif path in ("/slow", "/busy"):
            path = "/tea"
        body = PAGES.get(path, "nothing").encode()
        self.send_response(200 if path in PAGES else 429 if path == "/later" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0.1")
        self.end_headers()
        with suppress(BrokenPipeError):  # nobody waits for /slow any more
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Quiet: what was asked for is in `asked`."""


@pytest.fixture
def site() -> Iterator[str]:
    """Its URL."""
    Site.asked, Site.over = [], threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Site.over.set()
        server.shutdown()


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
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, site: str
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
    pages = [f"{site}/{name}" for name in ("tea", "milk", "slow", "busy", "gone", "evil")]
    with local_mode(folder, "queue.yaml", redis_url) as output:
        with locked(database):
            assert python(folder, "add.py", redis_url, *pages).count("is fetched") == 6
            assert "tea was asked for today" in python(folder, "add.py", redis_url, pages[0])
            eventually(lambda: "database is locked" in output.read_text(), "a thread met the lock")
        eventually(lambda: len(saved(database)) == 4, "four pages are saved")
        eventually(lambda: queue.failed() and queue.dead_letters(), "the others are given up")

    tea = ("All about tea", 6)
    assert saved(database) == {pages[0]: tea, pages[1]: ("Milk", 4), pages[2]: tea, pages[3]: tea}
    (gone,), (evil,) = queue.dead_letters(), queue.failed()
    assert gone.reason == "HTTP 404"
    assert str(evil.reason).startswith("timeout: "), "a process was killed, and nothing else was held up"
    assert Site.asked.count("/gone") == 1, "which is never tried again"
    assert min(Site.asked.count(path) for path in ("/slow", "/busy")) >= 2
