"""A worker's long life in short: many messages and many fresh starts, and nothing grows.

SOAK_MESSAGES=300000 .venv/bin/pytest tests/integration/test_worker_soak.py --timeout 3600
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.growth import Sample, findings
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redisqueue_worker.restart import JITTER

if TYPE_CHECKING:
    import redis

MESSAGES = int(os.environ.get("SOAK_MESSAGES", "3500"))
LIVES = 7
PER_LIFE = MESSAGES // LIVES
LONGEST_LIFE = int(PER_LIFE * (1 + JITTER)) + 1
# What may be more at the end. Python keeps some of what it has freed, so memory is not the same in each life.
ALLOWED = {
    "memory MiB": 8,
    "threads": 0.5,
    "descriptors": 0.5,
    "children": 0.5,
    "connections": 1.5,
    "keys without expiry": 0.5,
    "fields of workers": LIVES + 2.5,
}
PATIENCE_SECONDS = 60 + MESSAGES / 300


def footprint(pid: int, client: redis.Redis) -> dict[str, float]:
    """The least of a few looks: a file that is just being read is nothing that the process holds."""
    looks = [one_look(pid, client)]
    for _ in range(4):
        time.sleep(0.01)
        looks.append(one_look(pid, client))
    return {name: min(look[name] for look in looks) for name in ALLOWED}


def one_look(pid: int, client: redis.Redis) -> dict[str, float]:
    """What a process holds, and what Redis has of it."""
    process = Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
    )
    return {
        "memory MiB": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "descriptors": len(list((process / "fd").iterdir())),
        "children": len((process / "task" / str(pid) / "children").read_text().split()),
        "connections": len(client.client_list()),
        "keys without expiry": sum(client.ttl(key) == -1 for key in client.scan_iter()),
        "fields of workers": client.hlen(KEYS.workers),
    }


class Soak:
    """One worker, and what it was fed."""

    def __init__(self, client: redis.Redis, worker: WorkerProcess, slots: int) -> None:
        self.client, self.worker, self.slots = client, worker, slots
        self.published: list[str] = []

    def look(self, pid: int) -> Sample:
        """What the worker holds when it has waited for messages, and each of its slots has one in hand.

        Then it has opened every connection and started every thread that it ever will.
        """
        eventually(self.waits, "it waits for messages", PATIENCE_SECONDS)
        started = len(self.worker.noted("started"))
        held = f"held-{len(self.published)}"
        self.publish([held] * self.slots)
        self.worker.until_noted("started", started + self.slots)
        seen = Sample(len(self.published), footprint(pid, self.client))
        self.worker.open_gate(held)
        return seen

    def feed(self, count: int) -> None:
        """So many messages, all of them handled."""
        first = len(self.published)
        self.publish([str(number) for number in range(first, first + count)])
        eventually(self.idle, "all done", PATIENCE_SECONDS)

    def live(self) -> None:
        """What this process needs to start afresh, and that it has done so.

        It does so at a tenth more or less than it was told. Given what the longest life needs, less what it
        has had of the last one's messages, it ends once, and never while it is looked at.
        """
        before = [line["settled"] for line in self.worker.log_lines() if line["message"] == "starting afresh"]
        self.feed(LONGEST_LIFE - (len(self.published) - sum(before)))
        self.worker.logged("started", count=len(before) + 2)

    def publish(self, payloads: list[str]) -> None:
        publish(self.client, *payloads)
        self.published += payloads

    def waits(self) -> bool:
        return any(client["cmd"] == "blmove" for client in self.client.client_list())

    def idle(self) -> bool:
        now = counters(self.client)
        return now.pending == now.processing == 0


@pytest.mark.timeout(int(60 + 2 * PATIENCE_SECONDS))
@pytest.mark.parametrize(
    ("handler", "settings"),
    [
        ("tally", {"concurrency": 8, "max_messages": PER_LIFE}),
        ("tally_async", {"concurrency": 8, "max_messages": PER_LIFE}),
        ("tally", {"concurrency": 8}),
        ("tally", {"concurrency": 2, "max_messages": PER_LIFE, "slots": "processes"}),
    ],
    ids=["threads", "tasks", "one life", "processes"],
)
def test_nothing_grows(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, settings: dict[str, object]
) -> None:
    starts_afresh = "max_messages" in settings and "slots" not in settings
    with WorkerProcess(tmp_path, redis_url, handler, **settings) as worker:
        assert worker.process is not None
        soak = Soak(redis_client, worker, int(str(settings["concurrency"])))
        seen = []
        for _ in range(LIVES):
            seen.append(soak.look(worker.process.pid))
            if starts_afresh:
                soak.live()
            else:
                soak.feed(PER_LIFE)
        if "slots" in settings:  # each process is replaced when it has done its own share
            assert worker.messages().count("process replaced") >= LIVES // 3
        assert findings(seen[1:], ALLOWED) == [], seen
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "lease lost: this outcome does not count" not in worker.messages()
    assert sorted(worker.noted("tally")) == sorted(soak.published)
    lasting = {key.decode() for key in redis_client.scan_iter() if redis_client.ttl(key) == -1}
    assert lasting <= {KEYS.lease_token_counter}
