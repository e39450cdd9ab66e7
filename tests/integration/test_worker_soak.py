"""A worker's long life in short: many messages and many fresh starts, and nothing grows.

SOAK_MESSAGES=300000 .venv/bin/pytest tests/integration/test_worker_soak.py --timeout 3600
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redisqueue_worker.runner import TICK_SECONDS

if TYPE_CHECKING:
    import redis

MESSAGES = int(os.environ.get("SOAK_MESSAGES", "4500"))
LIVES = 9
AT_ONCE = 500
# Python keeps some of what it has freed, so memory is not the same in each life.
MEMORY_SPREAD_MIB = 8
PATIENCE_SECONDS = 30 + MESSAGES / 300


class Footprint(NamedTuple):
    """What a process holds."""

    memory_mib: float
    threads: int
    descriptors: int
    children: int


def footprint(pid: int) -> Footprint:
    process = Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line
    )
    children = (process / "task" / str(pid) / "children").read_text().split()
    return Footprint(
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["Threads"]),
        len(list((process / "fd").iterdir())),
        len(children),
    )


def feed(client: redis.Redis, worker: WorkerProcess, pid: int) -> list[Footprint]:
    """Publish all messages, a few at a time; what the worker holds, seen while it works."""
    seen = []
    for start in range(0, MESSAGES, AT_ONCE):
        publish(client, *(str(number) for number in range(start, start + AT_ONCE)))
        eventually(lambda: counters(client).pending == 0, "room for more", PATIENCE_SECONDS)
        time.sleep(
            2 * TICK_SECONDS
        )  # a quick worker would do several lives' work between two looks at its limits
        seen.append(footprint(pid))
    eventually(
        lambda: counters(client).processing == counters(client).pending == 0, "all done", PATIENCE_SECONDS
    )
    return seen


def is_flat(seen: list[Footprint]) -> None:
    """Fails when the later footprints are larger than the earlier ones."""
    half = len(seen) // 2
    early, late = seen[1 : half + 1], seen[half + 1 :]
    for field in ("threads", "descriptors", "children"):
        assert max(getattr(one, field) for one in late) <= max(getattr(one, field) for one in early), (
            field,
            seen,
        )
    growth = min(one.memory_mib for one in late) - max(one.memory_mib for one in early)
    assert growth < MEMORY_SPREAD_MIB, seen


@pytest.mark.timeout(int(60 + 2 * PATIENCE_SECONDS))
@pytest.mark.parametrize(
    ("handler", "settings"),
    [
        ("tally", {"max_messages": MESSAGES // LIVES}),
        ("tally_async", {"max_messages": MESSAGES // LIVES}),
        ("tally", {}),
        ("tally", {"max_messages": MESSAGES // LIVES, "slots": "processes", "concurrency": 2}),
    ],
    ids=["threads", "tasks", "one life", "processes"],
)
def test_nothing_grows(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, settings: dict[str, object]
) -> None:
    with WorkerProcess(tmp_path, redis_url, handler, **{"concurrency": 8, **settings}) as worker:
        assert worker.process is not None
        seen = feed(redis_client, worker, worker.process.pid)
        if "max_messages" in settings:
            fresh = "process replaced" if settings.get("slots") == "processes" else "starting afresh"
            assert worker.messages().count(fresh) >= LIVES // 3
        is_flat(seen)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "lease lost: this outcome does not count" not in worker.messages()
    assert sorted(map(int, worker.noted("tally"))) == list(range(MESSAGES))
    lasting = {key.decode() for key in redis_client.scan_iter() if redis_client.ttl(key) == -1}
    assert lasting <= {KEYS.lease_token_counter}
