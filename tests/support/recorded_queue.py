"""A queue with a bit of everything, as a release leaves it in Redis; later ones must go on with it.

    python -m tests.support.recorded_queue > tests/golden/data/0.1.0.json

is run once, at a release; what it wrote is never written again.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import redis
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, counters, eventually

from redis_message_queue import RedisMessageQueue
from redisqueue_worker.embedded_redis import EmbeddedRedis

WAITING = ("plain", "published", "keyed", "soon", "high", "low", "tenant-1", "tenant-2", "held")
"""The payloads that are still to be handled, each once."""


def fill(client: redis.Redis, url: str, folder: Path) -> None:
    """Have messages end in each way, one die with its worker, and others wait."""
    queue = RedisMessageQueue(QUEUE, client=client)
    for payload in ("ok", "dead", "boom"):
        queue.enqueue(payload, message_id=payload)
    kept = {"keep_completed": 10, "results_ttl_seconds": 86_400}
    with WorkerProcess(folder, url, "returning", max_attempts=1, **kept) as worker:
        for payload in ("ok", "dead", "boom"):
            queue.result(payload, timeout_seconds=PATIENCE_SECONDS)
        eventually(lambda: counters(client).in_flight == 0, "all are settled")
        worker.signal(signal.SIGTERM)
        worker.wait()
    queue.enqueue("held", message_id="held")
    with WorkerProcess(folder, url, "gated", worker_id="worker-2", visibility_timeout_seconds=3) as worker:
        worker.until_noted("started", 4)  # and is killed
    queue.enqueue("plain")
    queue.publish("published")
    queue.enqueue("keyed", message_id="keyed", deduplication_key="order-7", deduplication_seconds=86_400)
    queue.enqueue("soon", delay_seconds=1)
    queue.enqueue("cancelled", message_id="cancelled", delay_seconds=3600)
    queue.cancel("cancelled")
    for payload, options in {
        "high": {"priority": "high"},
        "low": {"priority": "low"},
        "tenant-1": {"limit_key": "one"},
        "tenant-2": {"limit_key": "two"},
    }.items():
        queue.enqueue(payload, **options)  # type: ignore[arg-type]


def recorded(client: redis.Redis) -> dict[str, Any]:
    """Every key with its type, its value and the milliseconds left to it (None: no expiry)."""
    read = {
        "string": client.get,
        "list": lambda key: client.lrange(key, 0, -1),
        "hash": lambda key: sorted(client.hgetall(key).items()),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "set": lambda key: sorted(client.smembers(key)),
    }
    found = {}
    for key in sorted(client.keys()):
        kind = client.type(key).decode()
        left = client.pttl(key)
        found[_text(key)] = {
            "type": kind,
            "value": _plain(read[kind](key)),
            "pttl": left if left > 0 else None,
        }
    return found


def restore(client: redis.Redis, keys: dict[str, Any]) -> None:
    """Put all of it back; moments that were to come then may have passed meanwhile."""
    for name, entry in keys.items():
        key, value = _bytes(name), entry["value"]
        match entry["type"]:
            case "string":
                client.set(key, _bytes(value))
            case "list":
                client.rpush(key, *map(_bytes, value))
            case "hash":
                client.hset(key, mapping={_bytes(field): _bytes(of) for field, of in value})
            case "zset":
                client.zadd(key, {_bytes(member): score for member, score in value})
            case "set":
                client.sadd(key, *map(_bytes, value))
        if entry["pttl"] is not None:
            client.pexpire(key, entry["pttl"])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _text(value)
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    with (
        EmbeddedRedis() as server,
        redis.Redis.from_url(server.url) as client,
        tempfile.TemporaryDirectory() as on,
    ):
        fill(client, server.url, Path(on))
        json.dump({"queue": KEYS.name, "keys": recorded(client)}, sys.stdout, indent=1)
        print()
