"""`make bench-limits`: whether limits hold, how long tenants wait for each other, what a claim costs then.

rate: four workers of 16 slots on a queue of 50 in a second, burst 10, with more waiting than that. How many
were claimed is read every few milliseconds, with the server's clock: the most in any second, and on average.
tenants: one key has 100,000 messages; how long the first message of another takes until its handler begins.
cost: the server's processor time for each message that is claimed and settled, 16 at once and one by one,
beside a queue without keys and limits: in random order, and the table has the median of rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import redis
from tests.bench.report import grid

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SAVING = ("--save", "3600 1")  # so that no worker warns of a server that keeps nothing
QUEUE, SLOTS = "bench", 16
HANDLERS = """
import os, time, redis

BEGUN = redis.Redis.from_url(os.environ["BENCH_URL"]).register_script(
    "local time = redis.call('TIME')"
    " local now = string.format('%.0f', time[1] * 1000000 + time[2])"
    " return redis.call('RPUSH', 'begun', ARGV[1] .. ' ' .. now)"
)

def nothing(payload: str) -> None:
    pass

def tenant(payload: str) -> None:
    if payload != "backlog":
        BEGUN(args=[payload])
    time.sleep(0.005)
"""

# What a claim costs is asked of these: how many keys there are, and what limits workers have.
OF_THE_QUEUE = Limits(rate_per_second=1e6, rate_burst=10_000, max_in_flight=10_000)
COSTS: dict[str, tuple[int, dict[str, Limits]]] = {
    "no keys, no limits": (0, {}),
    "limits of the queue": (
        0,
        {"limits": Limits(rate_per_second=1e6, rate_burst=10_000, max_in_flight=10_000)},
    ),
    "10,000 keys": (10_000, {}),
    "10,000 keys, most in flight": (10_000, {"key_limits": Limits(max_in_flight=4)}),
    "10,000 keys, rate": (10_000, {"key_limits": Limits(rate_per_second=1000, rate_burst=100)}),
    "10,000 keys, all limits": (
        10_000,
        {
            "limits": OF_THE_QUEUE,
            "key_limits": Limits(rate_per_second=1000, rate_burst=100, max_in_flight=4),
        },
    ),
}


def most_in_a_second(looks: Sequence[tuple[float, int]]) -> int:
    """What is counted up most within any one second; `looks` are moments (seconds) and the count by then."""
    most = first = 0
    for moment, count in looks:
        while looks[first][0] < moment - 1:
            first += 1
        most = max(most, count - looks[first][1])
    return most


def share(values: Sequence[float], part: float) -> float:
    """What this part of the values does not exceed: 0.99 for p99."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


@contextmanager
def workers(url: str, number: int, handler: str, *flags: str) -> Iterator[Callable[[], None]]:
    """So many workers on the queue until the end; gives a short pause, which raises if one has ended."""
    processes: list[subprocess.Popen[bytes]] = []

    def pause() -> None:
        time.sleep(0.005)
        if any(process.poll() is not None for process in processes):
            raise RuntimeError("a worker has ended: its own words are above")

    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        Path(folder, "bench_handlers.py").write_text(HANDLERS)
        for place in range(number):
            command = [sys.executable, "-m", "redisqueue_worker.cli", "run", f"bench_handlers:{handler}"]
            command += ["--queue", QUEUE, "--redis-url", url, "--concurrency", str(SLOTS), "--http-port", "0"]
            command += [
                "--worker-id",
                f"w{place}",
                "--run-dir",
                f"{folder}/w{place}",
                "--log-level",
                "WARNING",
            ]
            environment = {**os.environ, "BENCH_URL": url}
            process = subprocess.Popen([*command, *flags], cwd=folder, env=environment)
            processes.append(process)
            running.callback(process.wait)
            running.callback(process.kill)
        yield pause


def begun(client: redis.Redis) -> list[tuple[str, float]]:
    """What handlers have begun with, and when by the server's clock, in seconds."""
    found = [noted.decode().rsplit(" ", 1) for noted in client.lrange("begun", 0, -1)]
    return sorted(((name, int(moment) / 1e6) for name, moment in found), key=lambda one: one[1])


def rate(seconds: int) -> str:
    """Whether a rate holds for four workers, from their first message on."""
    looks: list[tuple[float, int]] = [(0.0, 0)]
    with EmbeddedRedis(arguments=SAVING) as server, redis.Redis.from_url(server.url) as client:
        RedisMessageQueue(QUEUE, client=client, deduplication=False).publish_many(["any"] * 70 * seconds)
        look = client.register_script("return { redis.call('TIME'), redis.call('GET', KEYS[1]) or '0' }")
        with workers(server.url, 4, "nothing", "--rate-per-second", "50", "--rate-burst", "10") as pause:
            began = 0.0
            while not began or looks[-1][0] < began + seconds:
                pause()
                (whole, micro), claimed = look(keys=[QueueKeys(QUEUE).lease_token_counter])
                looks.append((int(whole) + int(micro) / 1e6, int(claimed)))
                began = began or (looks[-1][0] if looks[-1][1] else 0.0)
    begun = looks[-1][1]
    row = (f"{seconds} s", f"{begun:,}", str(most_in_a_second(looks)), f"{begun / seconds:.1f}")
    return grid(("4 workers x 16 slots, 50/s, burst 10", "claimed", "most in any second", "a second"), [row])


def tenants(messages: int, others: int) -> str:
    """How long the first messages of other tenants take, while one has so many waiting."""
    with EmbeddedRedis(arguments=SAVING) as server, redis.Redis.from_url(server.url) as client:
        queue = RedisMessageQueue(QUEUE, client=client, deduplication=False)
        queue.enqueue_many(["backlog"] * messages, limit_key="large")
        sent: dict[str, float] = {}
        with workers(server.url, 1, "tenant") as pause:
            while not client.llen(QueueKeys(QUEUE).processing):
                pause()
            for number in range(others):
                time.sleep(random.uniform(0.02, 0.1))
                at = client.time()
                sent[f"first-{number}"] = at[0] + at[1] / 1e6
                queue.enqueue(f"first-{number}", limit_key=f"small-{number}")
            left = queue.stats().pending
            while client.llen("begun") < others:
                pause()
            delays = [(moment - sent[name]) * 1000 for name, moment in begun(client)]
    row = (f"{messages:,}", f"{left:,}", *(f"{share(delays, part):.1f} ms" for part in (0.5, 0.99, 1.0)))
    return grid(("of one tenant", "left at the end", "another's first: p50", "p99", "longest"), [row])


def cost(messages: int, rounds: int) -> str:
    """The server's processor time for a message, by keys and limits in use."""
    cases = [(name, at_once) for name in COSTS for at_once in (SLOTS, 1)]
    found: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    with EmbeddedRedis(arguments=SAVING) as server, redis.Redis.from_url(server.url) as client:
        for _ in range(rounds):
            for name, at_once in random.sample(cases, len(cases)):
                client.flushall()
                count = messages if at_once > 1 else messages // 4
                found[name, at_once].append(_cost_of(client, count, *COSTS[name], at_once))
    rows = []
    for name in COSTS:
        row = [name]
        for at_once in (SLOTS, 1):
            values, base = found[name, at_once], found[next(iter(COSTS)), at_once]
            ratio = median(value / other for value, other in zip(values, base, strict=True))
            row += [f"{median(values):.1f} us", f"{ratio:.2f}x"]
        rows.append(row)
    return grid(("claimed and settled: server CPU a message", "16 at once", "", "one by one", ""), rows)


def _cost_of(
    client: redis.Redis, messages: int, keys: int, limits: dict[str, Any], at_once: int = SLOTS
) -> float:
    """Microseconds of the server's processor time for each message."""
    queue = RedisMessageQueue(QUEUE, client=client, deduplication=False)
    payloads = ["x" * 100] * messages
    queue.enqueue_many(payloads, limit_keys=[f"tenant-{n % keys}" for n in range(messages)] if keys else None)
    consumer = Consumer(client, QUEUE, worker=WorkerIdentity("w", SLOTS, config_hash="v1"), **limits)
    consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
    claims = consumer.claim(at_once).claims
    before, count = _server_us(client), 0
    while claims:
        count += len(claims)
        ends = [Settlement(claim, Outcome.DONE) for claim in claims]
        claims = consumer.settle(ends, claim=at_once).claimed.claims
    if count != messages:
        raise RuntimeError(f"{count} of {messages} were claimed: limits were in the way")
    return (_server_us(client) - before) / count


def _server_us(client: redis.Redis) -> float:
    used: Any = client.info("cpu")
    return (used["used_cpu_user"] + used["used_cpu_sys"]) * 1e6


def main() -> None:
    """Run what is asked for, and print a table of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=["rate", "tenants", "cost"], default=["rate", "tenants", "cost"]
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long the rate is watched")
    parser.add_argument("--messages", type=int, default=100_000, help="of the tenant that has many")
    parser.add_argument("--others", type=int, default=300, help="tenants with one message")
    parser.add_argument("--rounds", type=int, default=5, help="of cost")
    chosen = parser.parse_args()
    tables = {
        "rate": lambda: rate(chosen.seconds),
        "tenants": lambda: tenants(chosen.messages, chosen.others),
        "cost": lambda: cost(20_000, chosen.rounds),
    }
    for name in chosen.only:
        before = os.getloadavg()[0]
        print(f"\n{tables[name]()}\n\nload {before:.1f} before, {os.getloadavg()[0]:.1f} after", flush=True)


if __name__ == "__main__":
    main()
