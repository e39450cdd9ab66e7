"""What a release left in Redis is finished by this one: nothing is lost, doubled or forgotten."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.recorded_queue import WAITING, fill, recorded, restore
from tests.support.worker_process import KEYS, QUEUE, WorkerProcess, counters, eventually

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    import redis

FOLDER = Path(__file__).parents[1] / "golden" / "data"
RELEASES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture(params=RELEASES)
def left(request: pytest.FixtureRequest, redis_client: redis.Redis) -> dict[str, Any]:
    keys = json.loads((FOLDER / f"{request.param}.json").read_text("utf-8"))["keys"]
    restore(redis_client, keys)
    return keys  # type: ignore[no-any-return]


@pytest.mark.usefixtures("left")
def test_everything_that_waits_is_handled_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with WorkerProcess(tmp_path, redis_url, "outcome", results_ttl_seconds=60) as worker:
        worker.until_noted("finished", len(WAITING))
        eventually(lambda: counters(redis_client).processing == 0, "all are settled")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        handled = worker.noted("finished")
    # The one that died with its worker is told as a second delivery.
    deliveries = {payload: 2 if payload == "held" else 1 for payload in WAITING}
    assert sorted(handled) == sorted(f"{name} {of}" for name, of in deliveries.items())
    assert RedisMessageQueue(QUEUE, client=redis_client).result("held").state == "completed"  # type: ignore[union-attr]


@pytest.mark.usefixtures("left")
def test_what_is_remembered_of_the_past_is_still_known(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    result = queue.result("ok")
    assert result is not None
    assert (result.state, result.value) == ("completed", {"told": "ok", "delivery": 1})
    (dead,), (boom,) = queue.dead_letters(), queue.failed()
    assert (dead.message_id, dead.payload, dead.deliveries) == ("dead", b"dead", 1)
    assert (boom.message_id, boom.payload, boom.deliveries) == ("boom", b"boom", 1)
    assert "boom happened" in boom.traceback
    places = ("ok", "dead", "boom", "keyed", "held", "cancelled")
    assert {place: queue.find(place).state for place in places} == {
        "ok": "completed",
        "dead": "dead",
        "boom": "failed",
        "keyed": "pending",
        "held": "in_flight",
        "cancelled": "unknown",
    }
    again = queue.enqueue("keyed", deduplication_key="order-7")
    assert (bool(again), again.first_id) == (False, "keyed")


@pytest.mark.usefixtures("left")
def test_a_dead_letter_of_then_can_be_tried_again(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    queue = RedisMessageQueue(QUEUE, client=redis_client)
    assert set(queue.redrive_letters(["dead"])) == {"dead"}
    with WorkerProcess(tmp_path, redis_url, "outcome") as worker:
        assert "dead 1" in worker.until_noted("started", len(WAITING) + 1)


def test_what_this_release_leaves_is_of_the_kinds_that_are_recorded(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """A kind of key that is new has to be in a record, before it is released."""
    fill(redis_client, redis_url, tmp_path)
    known = {
        _kind(name): entry["type"]
        for release in RELEASES
        for name, entry in json.loads((FOLDER / f"{release}.json").read_text("utf-8"))["keys"].items()
    }
    assert {_kind(name): entry["type"] for name, entry in recorded(redis_client).items()} == known


def _kind(name: str) -> str:
    """The name without what differs from message to message."""
    return ":".join(part for part in name.removeprefix(KEYS.name).split(":")[:4] if part.isidentifier())
