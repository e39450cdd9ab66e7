"""`make bench-held`: a queue under a load that lasts, and whether anything grows meanwhile.

In local mode, with the operator's own engine: it tells how many messages a second two workers handle at
most, then sends 70 % of that for half an hour. Every few seconds it notes how long messages are on their way
to their handler and what operator, workers and Redis hold: memory, threads, descriptors, processes,
connections, leases, keys that never expire. What has grown by more than it may is told, and is exit code 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.bench.limits import share
from tests.bench.outcome import Outcome
from tests.bench.report import grid
from tests.support.growth import Sample, findings
from tests.support.local_mode import local_mode
from tests.support.worker_process import descendants

from redis_message_queue import RedisMessageQueue
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "held"
KEYS = QueueKeys(NAME)
RESOURCE = """
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: held}
spec:
  redis: {url: redis://unused}
  scaling: {minReplicas: 2, maxReplicas: 2}
  worker: {handler: "held_handlers:handle", concurrency: 16}
"""
HANDLERS = """
import os, time, redis

CLIENT = redis.Redis.from_url(os.environ["HELD_URL"])

def handle(payload: str) -> None:
    if payload[0] != "x":
        CLIENT.rpush("delays", time.time() - float(payload.split()[0]))
"""
STAMPED = 50
"""One message in so many tells how long it took."""
STEP_SECONDS = 0.02
# What may be more at the end than at first; what a busy moment has is no growth.
ALLOWED = {
    "threads": 0.5,
    "descriptors": 1.5,
    "processes": 0.5,
    "connections": 1.5,
    "keys without expiry": 6,
    "leases": 64,
}
RELATIVE = {"memory of the operator": 0.05, "memory of workers": 0.05, "memory of Redis": 0.05, "p99 ms": 1.0}
"""Of the largest in the first third; of memory 2 MiB in any case."""
LEAST_MIB = 2.0
AT_REST = ("leases", "keys without expiry")
"""What is as it was when nothing is left to do."""
CEILING_SECONDS = 10.0


def look(client: redis.Redis, operator: int) -> dict[str, float]:
    """What there is: memory in MiB, of all processes that the operator has started, and of itself."""
    workers = descendants(operator)
    found: dict[str, float] = {"processes": len(workers), "threads": 0, "descriptors": 0}
    memory = {operator: 0.0, 0: 0.0}
    for process in [operator, *workers]:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            status = Path(f"/proc/{process}/status").read_text()
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            memory[operator if process == operator else 0] += int(facts["VmRSS"].split()[0]) / 1024
            found["threads"] += int(facts["Threads"])
            found["descriptors"] += len([*Path(f"/proc/{process}/fd").iterdir()])
    server: Any = client.info()
    keys = server.get("db0", {"keys": 0, "expires": 0})
    return {
        **found,
        "memory of the operator": memory[operator],
        "memory of workers": memory[0],
        "memory of Redis": server["used_memory"] / 2**20,
        "connections": server["connected_clients"],
        "keys without expiry": keys["keys"] - keys["expires"],
        "leases": client.zcard(KEYS.lease_deadlines),
    }


def delays(client: redis.Redis) -> list[float]:
    """How long messages took since the last time, in ms."""
    with client.pipeline() as pipeline:
        told, _ = pipeline.lrange("delays", 0, -1).delete("delays").execute()
    return [1000 * float(one) for one in told]


def handled(client: redis.Redis) -> int:
    """How many messages were claimed so far."""
    return int(client.get(KEYS.lease_token_counter) or 0)


def ceiling(client: redis.Redis, queue: RedisMessageQueue, seconds: float) -> float:
    """Messages a second where more wait than are handled. None is left at the end."""
    while len(client.hkeys(KEYS.workers)) < 2:
        time.sleep(0.1)
    end, began, before = time.monotonic() + seconds, 0.0, 0
    while time.monotonic() < end:
        if queue.stats().pending < 20_000:
            queue.publish_many(["x" * 100] * 5000)
        if not began and handled(client):
            began, before = time.monotonic(), handled(client)
    rate = (handled(client) - before) / (time.monotonic() - began)
    all_done(queue)
    return rate


def all_done(queue: RedisMessageQueue) -> None:
    """Wait until nothing is left. Raises RuntimeError where a message has failed."""
    while any((stats := queue.stats())[:2]):
        time.sleep(0.1)
    if stats.failed:
        raise RuntimeError(f"{stats.failed} messages have failed: the handlers are at fault")


def held(client: redis.Redis, operator: int, rate: float, seconds: float, every: float) -> list[Sample]:
    """Send `rate` messages a second for so long; a sample `every` so many seconds."""
    queue = RedisMessageQueue(NAME, client=client, deduplication=False)
    samples: list[Sample] = []
    began = time.monotonic()
    sent, looked = 0, began
    while (now := time.monotonic()) < began + seconds:
        due = int((now - began) * rate) - sent
        stamp = f"{time.time():.6f}"
        queue.publish_many(
            [stamp.ljust(100) if number % STAMPED == 0 else "x" * 100 for number in range(sent, sent + due)]
        )
        sent += due
        if now >= looked + every:
            looked = now
            values = look(client, operator)
            if took := delays(client):
                values["p99 ms"] = share(took, 0.99)
            samples.append(Sample(handled(client), values))
            print(f"{now - began:.0f} s: {_words(values)}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        time.sleep(STEP_SECONDS)
    return samples


def _words(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())


def verdict(samples: Sequence[Sample], before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """What has grown by more than it may, but for a warm-up, the first tenth; and what is left at the end.

    `before` and `after` are looks at a queue that has nothing to do.
    """
    counted = samples[len(samples) // 10 :]
    shares = {
        name: max(
            LEAST_MIB if name.startswith("memory") else 0.0,
            part * max(one.values.get(name, 0.0) for one in counted[: max(1, len(counted) // 3)]),
        )
        for name, part in RELATIVE.items()
        if counted
    }
    left = [
        f"{name}: {after[name]:g} at the end, {before[name]:g} before"
        for name in AT_REST
        if after[name] > before[name]
    ]
    return [*findings(counted, {**ALLOWED, **shares}), *left]


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """How it was at first, and at the end: of the first and the last sample of each third."""
    samples = [one for one in results if "handled" in one]
    names = [*RELATIVE, *ALLOWED]
    rows = [
        (name, *(f"{samples[at][name]:.4g}" if name in samples[at] else "" for at in places))
        for places in [(0, len(samples) // 3, 2 * len(samples) // 3, -1)]
        for name in names
    ]
    told = "\n".join(f"- {one['finding']}" for one in results if "finding" in one) or "Nothing grows."
    rate = next(one for one in results if "ceiling" in one)
    head = (
        f"{rate['ceiling']:,.0f} messages a second at most; {rate['rate']:,.0f} for {rate['seconds']:,.0f} s"
    )
    return f"{head}\n\n{grid(('', 'at first', 'after a third', 'two thirds', 'at the end'), rows)}\n\n{told}"


def main() -> None:
    """Hold the load, and say what grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--share", type=float, default=0.7, help="of the ceiling")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    options = parser.parse_args()
    outcome = Outcome(f"{os.cpu_count()} cores", ".".join(map(str, sys.version_info[:2])))
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis() as server:
        folder = Path(name)
        (folder / "held.yaml").write_text(RESOURCE)
        (folder / "held_handlers.py").write_text(HANDLERS)
        os.environ["HELD_URL"] = server.url
        before = set(descendants(os.getpid()))
        with local_mode(folder, "held.yaml", server.url), redis.Redis.from_url(server.url) as client:
            (operator,) = {*_children()} - before
            queue = RedisMessageQueue(NAME, client=client, deduplication=False)
            most = ceiling(client, queue, CEILING_SECONDS)
            seconds, at_first = 60 * options.minutes, look(client, operator)
            samples = held(client, operator, options.share * most, seconds, max(0.5, seconds / 60))
            all_done(queue)
            delays(client)
            found = verdict(samples, at_first, look(client, operator))
    results: list[dict[str, Any]] = [
        {"ceiling": most, "rate": options.share * most, "seconds": seconds},
        *({"handled": one.handled, **one.values} for one in samples),
        *({"finding": one} for one in found),
    ]
    outcome.tell(results, markdown, options.json)
    sys.exit(1 if found else 0)


def _children() -> list[int]:
    return [
        int(child)
        for thread in Path("/proc/self/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


if __name__ == "__main__":
    main()
