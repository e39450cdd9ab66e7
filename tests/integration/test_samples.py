"""The samples with a handler do what they say, in local mode."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from tests.support.local_mode import local_mode
from tests.support.worker_process import eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"


def publish(client: redis.Redis, queue: str, *messages: str | dict[str, Any]) -> None:
    RedisMessageQueue(queue, client=client).publish_many(messages)


def reasons(client: redis.Redis, queue: str) -> list[str]:
    return sorted(json.loads(record)["reason"] for record in client.lrange(f"{queue}::dlq_info", 0, -1))


def test_hello(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    (tmp_path / "hello.yaml").write_text((SAMPLES / "hello.yaml").read_text())
    publish(redis_client, "hello", "world")
    with local_mode(tmp_path, "hello.yaml", redis_url) as output:
        eventually(lambda: "| hello, world\n" in output.read_text(), "said hello")


class Receiver(BaseHTTPRequestHandler):
    """A server of webhooks: busy once, then content; some of its paths are gone for good."""

    seen: list[tuple[str, Any, str | None]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body, self.headers["Idempotency-Key"]))
        first = len([path for path, _, _ in self.seen if path == self.path]) == 1
        self.send_response({"/gone": 410, "/busy": 429 if first else 200}.get(self.path, 200))
        if self.path == "/busy" and first:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Quiet: what came is in `seen`."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, Any, str | None]]]]:
    Receiver.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", Receiver.seen
        server.shutdown()


def test_webhooks(
    tmp_path: Path,
    redis_url: str,
    redis_client: redis.Redis,
    receiver: tuple[str, list[tuple[str, Any, str | None]]],
) -> None:
    url, seen = receiver
    (tmp_path / "webhooks.yaml").write_text((SAMPLES / "webhooks.yaml").read_text())
    hooks = [{"url": f"{url}/{path}", "body": {"to": path}} for path in ("fine", "busy", "gone")]
    publish(redis_client, "webhooks", *hooks, {"url": "file:///etc/passwd", "body": {}}, {"url": "x"})
    with local_mode(tmp_path, "webhooks.yaml", redis_url):
        eventually(lambda: len(seen) >= 4, "three webhooks and a second try")
        eventually(lambda: len(reasons(redis_client, "webhooks")) == 3, "three dead letters")
    assert sorted(path for path, _, _ in seen) == ["/busy", "/busy", "/fine", "/gone"]
    assert all(body == {"to": path[1:]} and key for path, body, key in seen)
    assert len({key for path, _, key in seen if path == "/busy"}) == 1
    assert reasons(redis_client, "webhooks") == [
        "invalid payload: field body is missing",
        "the URL is neither http nor https",
        "the server refused it for good: HTTP 410",
    ]


def test_invoices(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    (tmp_path / "invoices.yaml").write_text((SAMPLES / "invoices.yaml").read_text())
    publish(redis_client, "invoices", {"number": "2031", "lines": [[2, "19.90"], [1, "5"]]})
    files = ("--source", f"invoices={SAMPLES / 'invoices'}")
    with local_mode(tmp_path, "invoices.yaml", redis_url, *files) as output:
        eventually(lambda: "| invoice 2031: 44.80\n" in output.read_text(), "the total")
        assert "not used in local mode: worker.source" not in output.read_text()


def test_thumbnails(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    images = tmp_path / "images"
    (images / "holidays").mkdir(parents=True)
    Image.new("RGBA", (64, 32), "red").save(images / "holidays" / "beach.png")
    (images / "broken.png").write_bytes(b"no image")
    text = (SAMPLES / "thumbnails.yaml").read_text()
    assert text.count("value: /images}") == 1
    (tmp_path / "thumbnails.yaml").write_text(text.replace("value: /images}", f"value: {images}}}"))
    sources = ("holidays/beach.png", "broken.png", "absent.png", "../output")
    publish(redis_client, "thumbnails", *({"source": source, "width": 16} for source in sources))
    handler = ("--handler-path", os.fspath(SAMPLES / "thumbnails"))
    with local_mode(tmp_path, "thumbnails.yaml", redis_url, *handler) as output:
        eventually(lambda: len(reasons(redis_client, "thumbnails")) == 3, "three dead letters")
        made = images / "thumbnails" / "16" / "holidays" / "beach.jpg"
        eventually(made.exists, "the thumbnail")
        assert "processes" in output.read_text()
    with Image.open(made) as thumbnail:
        assert (thumbnail.size, thumbnail.format) == ((16, 8), "JPEG")
    assert [path.name for path in made.parent.iterdir()] == ["beach.jpg"]
    assert reasons(redis_client, "thumbnails") == [
        "it is no image that Pillow can read",
        "the source lies outside of the folder, or the width is not from 1 to 4096",
        "there is no such image",
    ]
