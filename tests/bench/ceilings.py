"""`make bench-ceilings`: how far one RedisQueue, one Redis goes, and how the cost of a message grows.

A consumer of this process settles sixteen messages, claims sixteen more and enqueues as many, so that the
queue stays as large as it was: with more and more pending, in flight, larger payloads, limit keys. Whole
workers handle messages that do nothing, 1 to 16 of them beside each other. And each call is made while one
thing of a queue is large (see `costs`). Rounds are interleaved in random order, tables have medians.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import redis
from tests.bench import ceilings_report, costs
from tests.bench.costs import KEYS, NAME, Size
from tests.bench.limits import workers
from tests.bench.outcome import Outcome, retell
from tests.bench.usage import cpu_seconds
from tests.support.worker_process import descendants

from redis_message_queue import RedisMessageQueue, envelope
from redis_message_queue.consumer import Consumer, Limits, Settlement, WorkerIdentity
from redis_message_queue.consumer import Outcome as Ended
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAVING = ("--save", "3600 1000000000")  # so that no worker warns of a server that keeps nothing
AT_ONCE = 16
MEMORY_BYTES = 400
"""What the server needs for a pending message of 100 bytes, and some room."""
FILL = """
local head, tail, from = string.match(ARGV[1], '^(.-)' .. ARGV[2] .. '(.*)$')
for number = ARGV[3], ARGV[3] + ARGV[4] - 1 do
  redis.call('LPUSH', KEYS[1], head .. string.format('%032x', number) .. tail)
end
"""


@dataclass(frozen=True)
class Point:
    """A queue that is kept at this size: how many wait, and are in the hand of one consumer."""

    what: str
    pending: int = 1000
    payload_bytes: int = 100
    in_flight: int = AT_ONCE
    in_order: bool = True
    limit_keys: int = 0

    @property
    def size(self) -> int:
        """What a plot has to its right."""
        of = {"pending": self.pending, "payload": self.payload_bytes, "limit keys": self.limit_keys}
        return of.get(self.what, self.in_flight)


def points(most_pending: int) -> list[Point]:
    """All of them; so many pending at most."""
    pending = [Point("pending", pending=10**power) for power in range(3, 8) if 10**power <= most_pending]
    payload = [Point("payload", payload_bytes=100 * 10**power, pending=100) for power in range(5)]
    in_flight = [
        Point(name, in_flight=number, in_order=name == "in flight, in order")
        for name in ("in flight, in order", "in flight, in any order")
        for number in (100, 1000, 10_000, 50_000)
    ]
    keys = [Point("limit keys", limit_keys=number, pending=20_000) for number in (1, 100, 1000, 10_000)]
    return [*pending, *payload, *in_flight, *keys]


def room_for(most: int) -> int:
    """The largest power of ten of pending messages, up to `most`, for which half of the free memory does."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if sys.platform == "linux" else 0
    while most > 1000 and most * MEMORY_BYTES > free / 2:
        most //= 10
    return most


def fill(client: redis.Redis, queue: RedisMessageQueue, point: Point) -> None:
    """As many as are to wait, and those that are going to be in flight."""
    count = point.pending + point.in_flight
    if point.limit_keys:
        names = [f"key-{number % point.limit_keys}" for number in range(count)]
        queue.enqueue_many(["x" * point.payload_bytes] * count, limit_keys=names)
        return
    mark = "0" * 32
    stored = envelope.encode("x" * point.payload_bytes, mark)
    for start in range(0, count, 50_000):
        client.eval(FILL, 1, KEYS.pending, stored, mark, start + 1, min(50_000, count - start))


def kept_at(client: redis.Redis, point: Point, seconds: float) -> dict[str, float]:
    """What a message costs on a queue of that size."""
    client.flushall()
    queue = RedisMessageQueue(NAME, client=client, deduplication=False)
    fill(client, queue, point)
    limits: dict[str, Any] = {"key_limits": Limits(max_in_flight=10**6)} if point.limit_keys else {}
    identity = WorkerIdentity("w", point.in_flight, instance="w", config_hash="v1")
    consumer = Consumer(client, NAME, visibility_timeout_seconds=3600, worker=identity, **limits)
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    held = []
    while len(held) < point.in_flight:
        held += consumer.claim(min(1000, point.in_flight - len(held))).claims
    order, payload = random.Random(1), "x" * point.payload_bytes
    names = [f"key-{number}" for number in range(point.limit_keys)]
    handled, began, busy, used = 0, time.perf_counter(), server_seconds(client), time.process_time()
    while (took := time.perf_counter() - began) < seconds or not handled:
        if not point.in_order:
            for place in range(AT_ONCE):
                other = order.randrange(len(held))
                held[place], held[other] = held[other], held[place]
        ends = [Settlement(one, Ended.DONE) for one in held[:AT_ONCE]]
        more = consumer.settle(ends, claim=AT_ONCE).claimed.claims
        del held[:AT_ONCE]
        held += more
        new = {"limit_keys": order.choices(names, k=AT_ONCE)} if names else {}
        queue.enqueue_many([payload] * AT_ONCE, **new)
        handled += len(more)
    return {
        "per_second": handled / took,
        "server_us": (server_seconds(client) - busy) / handled * 1e6,
        "client_us": (time.process_time() - used) / handled * 1e6,
    }


def server_seconds(client: redis.Redis) -> float:
    """Processor time of the server so far."""
    used: Any = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def side_by_side(server: EmbeddedRedis, client: redis.Redis, number: int, seconds: float) -> dict[str, float]:
    """So many whole workers of 16 slots on a queue that has more than they handle."""
    client.flushall()
    before = set(descendants(os.getpid()))
    queue = RedisMessageQueue(NAME, client=client, deduplication=False)
    fill(client, queue, Point("workers", pending=int(60_000 * (seconds + 3))))
    counter = KEYS.lease_token_counter
    with workers(server.url, number, "nothing") as pause:
        # Each has a field for itself and one for what it holds.
        while len(client.hkeys(KEYS.workers)) < 2 * number:
            pause()
        processes = [each for each in descendants(os.getpid()) if each not in before]
        claimed, began = int(client.get(counter) or 0), time.perf_counter()
        busy, used = server_seconds(client), sum(map(cpu_seconds, processes))
        time.sleep(seconds)
        took = time.perf_counter() - began
        handled = int(client.get(counter) or 0) - claimed
        found = {
            "per_second": handled / took,
            "server_us": (server_seconds(client) - busy) / handled * 1e6,
            "client_us": (sum(map(cpu_seconds, processes)) - used) / handled * 1e6,
        }
    if not client.llen(KEYS.pending):
        raise RuntimeError("the queue ran empty: enqueue more")
    return found


def grown(rounds: int, seconds: float, most_pending: int, only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Medians of each point, and of workers side by side."""
    chosen = [one for one in points(most_pending) if one.what.split(",")[0] in only]
    numbers = [1, 4, 16] if "workers" in only else []
    found: dict[Any, list[dict[str, float]]] = {one: [] for one in [*chosen, *numbers]}
    with EmbeddedRedis(arguments=SAVING) as server, redis.Redis.from_url(server.url) as client:
        for number in range(rounds):
            for one in random.Random(number).sample([*found], len(found)):
                print(f"round {number + 1}: {one}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
                if isinstance(one, Point):
                    found[one].append(kept_at(client, one, seconds))
                else:
                    found[one].append(side_by_side(server, client, one, 2 * seconds))
    for one, rounds_of_it in found.items():
        facts = {name: round(median(each[name] for each in rounds_of_it), 1) for name in rounds_of_it[0]}
        about = (
            {"what": one.what, "size": one.size}
            if isinstance(one, Point)
            else {"what": "workers", "size": one}
        )
        yield {**about, **facts}


def by_call(rounds: int, many: int, most_pending: int) -> Iterator[dict[str, Any]]:
    """What each call costs by what is large: microseconds in all, and of the longest single one."""
    sizes = {
        "small": Size(),
        f"{most_pending:,} pending": Size(pending=most_pending),
        f"{many:,} in flight": Size(in_flight=many),
        f"{many // 10:,} held by one": Size(each_holds=many // 10),
        f"{many:,} delayed": Size(delayed=many),
        f"{many:,} limit keys": Size(limit_keys=many),
        f"{many:,} dead letters": Size(letters=many),
        f"{most_pending:,} other keys": Size(markers=most_pending),
    }
    found = {}
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        for name, size in sizes.items():
            print(f"{name}: {size}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
            found[name] = costs.costs(client, size, rounds)
    for call in found["small"]:
        us = {name: round(of[call].total_us) for name, of in found.items()}
        longest = {name: round(of[call].longest_us) for name, of in found.items()}
        yield {"what": "calls", "call": call, "us": us, "longest_us": longest}


PARTS = ("calls", "workers", "pending", "payload", "in flight", "limit keys")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="one round, and a tenth of the sizes")
    parser.add_argument("--rounds", type=int, help="default 3")
    parser.add_argument("--most", type=int, default=1_000_000, help="pending, of calls; of others a tenth")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the medians")
    parser.add_argument("--tables", type=Path, metavar="FILE", help="only print the tables of such a file")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw what grows, as SVG, of --tables or this run"
    )
    options = parser.parse_args()
    if options.tables:
        retell(options.tables, ceilings_report.markdown)
        if options.plot:
            options.plot.write_text(ceilings_report.plot_of(options.tables))
        return
    rounds = options.rounds or (1 if options.quick else 3)
    outcome = Outcome(f"{os.cpu_count()} cores", ".".join(map(str, sys.version_info[:2])))
    results: list[dict[str, Any]] = []
    most = options.most // (10 if options.quick else 1)
    if "calls" in options.only:
        results += by_call(rounds, most // 10, most)
    rest = [name for name in options.only if name != "calls"]
    if rest:
        results += grown(rounds, 0.5 if options.quick else 1.0, room_for(10 * most), rest)
    outcome.tell(results, ceilings_report.markdown, options.json)
    if options.plot:
        options.plot.write_text(ceilings_report.plot(results))


if __name__ == "__main__":
    main()
