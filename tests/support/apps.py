"""The small projects of `tests/integration/apps`: a copy of one, the web to archive, what the shop notes."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

APPS = Path(__file__).parents[1] / "integration" / "apps"


def copy_of(app: str, folder: Path) -> Path:
    """The project, where nothing of this repository's tests is near."""
    return Path(shutil.copytree(APPS / app, folder / app, ignore=shutil.ignore_patterns("__pycache__")))


# ---- the archive ----

PAGES = {
    "/tea": "<title>All about tea</title> <p>Pour, and wait.</p>",
    "/milk": "<title>Milk</title> <p>First or last?</p>",
    "/evil": f"<title>{'a' * 60}!</title>",
}
ASKED_FOR = ("/tea", "/milk", "/slow", "/busy", "/gone", "/evil")
SAVED = dict.fromkeys(("/tea", "/slow", "/busy"), ("All about tea", 6)) | {"/milk": ("Milk", 4)}
"""Title and words of each page that can be had in the end."""
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


@contextmanager
def site(address: str = "127.0.0.1") -> Iterator[str]:
    """Its URL there."""
    Site.asked, Site.over = [], threading.Event()
    with ThreadingHTTPServer((address, 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_address[1]}"
        Site.over.set()
        server.shutdown()


# ---- the shop of `moving` ----

JOURNAL = [
    "asked to mail ada@example.org",
    "bill of 8, packed: True",
    "mail to ada@example.org: welcome",
    "packed 8",
    "refund of 7 was asked for",
    "reminded ada@example.org",
    "total of 2",
]


def without_picture(lines: Iterable[str]) -> list[str]:
    """The journal's lines, sorted, but that of the one picture, which has its digest."""
    ordered = sorted(lines)
    pictures = [line for line in ordered if line.startswith("cat.png: ")]
    assert len(pictures) == 1
    assert len(pictures[0]) == len("cat.png: ") + 64
    return [line for line in ordered if line not in pictures]
