"""Messages whose worker died: the one that kills its workers shows itself, and no other pays for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redis_message_queue import envelope

if TYPE_CHECKING:
    from pathlib import Path

    import redis

SLOTS = pytest.mark.parametrize(
    ("handler", "slots"), [("deadly", "threads"), ("deadly_async", "tasks"), ("deadly", "processes")]
)
LEASE = {"visibility_timeout_seconds": 6, "concurrency": 4}


class Supervised(WorkerProcess):
    """A worker that is started again whenever it dies, as a kubelet does it."""

    def __init__(self, folder: Path, client: redis.Redis, url: str, handler: str, **settings: object) -> None:
        super().__init__(folder, url, handler, **settings)
        self.client = client

    def until_done(self, timeout_seconds: float = 150.0) -> None:
        """Until nothing is left to handle: after each of several deaths a worker starts anew."""

        def done() -> bool:
            if not self.running:
                self.start()
            seen = counters(self.client)
            return seen.pending + seen.processing + seen.delayed == 0

        eventually(done, "all messages are settled", timeout_seconds)

    def beside(self, payload: str) -> list[set[tuple[str, str]]]:
        """What else ran in the same worker, and at which delivery, for each time that this payload began."""
        running: dict[str, set[tuple[str, str]]] = {}
        found = []
        for what, worker, name, delivery in (line.split("\t") for line in self.noted("events")):
            mine = running.setdefault(worker, set())
            if what == "end":
                mine.remove((name, delivery))
                continue
            if name == payload:
                found.append(set(mine))
            mine.add((name, delivery))
        return found


def lasting(client: redis.Redis, seconds: float, *payloads: str) -> None:
    """Have the leases of these messages, or of all, end then: however long a worker takes to start."""
    leased = {stored: envelope.decode(stored.decode()).payload for stored in client.hkeys(KEYS.leases.tokens)}
    ends_ms = (client.time()[0] + seconds) * 1000
    chosen = [stored for stored, payload in leased.items() if not payloads or payload in payloads]
    client.zadd(KEYS.leases.deadlines, dict.fromkeys(chosen, ends_ms), xx=True)


@SLOTS
def test_a_message_that_kills_its_worker_takes_no_neighbour_along(
    handler: str, slots: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    good = [f"good{number}" for number in range(8)]
    publish(redis_client, *good[:2], "poison", *good[2:])
    settings = {**LEASE, "slots": slots, "concurrency": 3, "max_delivery_count": 3}
    with Supervised(tmp_path, redis_client, redis_url, handler, **settings) as worker:
        worker.until_done()
        assert redis_client.lrange(KEYS.dead_letter, 0, -1) == [b"poison"]
        assert set(worker.noted("finished")) == set(good)
        _, second, third = worker.beside("poison")
        assert "1" not in {delivery for _, delivery in second}, "with none but its like"
        assert third == set(), "alone in the end"
    assert not redis_client.exists(KEYS.notes), "nothing is remembered of what is gone"


def test_two_deadly_ones_among_neighbours_that_have_one_delivery_left(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    good = [f"good{number}" for number in range(6)]
    publish(redis_client, "poison1", good[0], "poison2", *good[1:])
    settings = {**LEASE, "max_attempts": 2, "max_delivery_count": 2}
    with Supervised(tmp_path, redis_client, redis_url, "deadly", **settings) as worker:
        worker.until_done()
        assert sorted(redis_client.lrange(KEYS.dead_letter, 0, -1)) == [b"poison1", b"poison2"]
        assert set(worker.noted("finished")) == set(good)
        assert worker.beside("poison1")[1:] == worker.beside("poison2")[1:] == [set()]


@SLOTS
def test_crashes_are_no_attempts_of_the_handler(
    handler: str, slots: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "2 kills 2 failures")
    settings = {**LEASE, "slots": slots, "max_attempts": 3}
    with Supervised(tmp_path, redis_client, redis_url, handler, **settings) as worker:
        worker.until_done()
        assert worker.noted("finished") == ["2 kills 2 failures"]
        assert counters(redis_client).dead_letter == 0


def test_what_a_dead_worker_had_in_hand_comes_back_together_and_beside_nothing_else(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abcd", "fresh", "later")
    with WorkerProcess(tmp_path, redis_url, "gated", **LEASE) as worker:
        worker.until_noted("started", 4)
        worker.signal(signal.SIGKILL)
        worker.wait()
        (worker.run_dir / "instances").unlink()  # so that nobody knows of its death
        lasting(redis_client, 600)
        worker.settings["concurrency"] = 3
        worker.start()
        worker.until_noted("started", 6)
        lasting(redis_client, 0, *"abcd")
        eventually(lambda: len(redis_client.hgetall(KEYS.notes)) == 4, "all are lost")
        eventually(lambda: counters(redis_client).processing == 3, "one is kept for this worker")
        worker.open_gate("fresh")
        worker.until_noted("finished", 1)
        assert sorted(worker.noted("started")[4:]) == ["fresh", "later"], "still one in hand"
        worker.open_gate("later")
        assert set(worker.until_noted("started", 9)[6:]) < set("abcd"), "as many as there are slots"
        worker.open_gate()
        worker.until_noted("finished", 6)
        assert sorted(worker.noted("started")) == sorted([*"aabbccdd", "fresh", "later"])


def test_a_message_that_is_kept_goes_back_uncounted_when_the_worker_drains(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "lost", "fresh")
    with WorkerProcess(tmp_path, redis_url, "gated", visibility_timeout_seconds=6) as worker:
        worker.until_noted("started", 1)
        worker.signal(signal.SIGKILL)
        worker.wait()
        (worker.run_dir / "instances").unlink()  # so that nobody knows of its death
        lasting(redis_client, 600)
        worker.settings["concurrency"] = 2
        worker.start()
        worker.until_noted("started", 2)
        lasting(redis_client, 0, "lost")
        eventually(lambda: redis_client.hvals(KEYS.notes) == [b"0 1 1"], "kept")
        worker.signal(signal.SIGTERM)
        eventually(lambda: counters(redis_client).pending == 1, "released while the other is still handled")
        worker.open_gate()
        assert worker.wait() == 0
    (stored,) = redis_client.lrange(KEYS.pending, 0, -1)
    assert envelope.decode(stored).payload == b"lost"
    assert redis_client.hgetall(KEYS.delivery_counts) == {stored: b"1"}
    assert worker.noted("started") == ["lost", "fresh"]
