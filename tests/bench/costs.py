"""What each call costs the server while a queue is small, and while one thing of it is large.

The server tells, by `INFO commandstats` and `INFO latencystats`: microseconds of its own, whatever else the
machine does.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.holders import expire_leases
from redis_message_queue.keys import QueueKeys
from redis_message_queue.reasons import letter_reasons
from redis_message_queue.stats import retire, sample
from redisqueue_operator.cli.address import discover

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from redis_message_queue.messages import Claim

NAME = "bench"
KEYS = QueueKeys(NAME)
SMALL = 200
AT_ONCE = 1000
EACH_HOLDS = 100
"""Messages that a process has in hand, unless a size says otherwise."""
SENT = ("eval", "evalsha", "scan", "blmove")
"""What scripts do not run, and so was sent by a client."""
OURS = ("cmdstat_config", "cmdstat_info", "cmdstat_client", "cmdstat_hello")


class Size(NamedTuple):
    """How much of everything a queue has, and for how many limit keys messages wait."""

    pending: int = SMALL
    in_flight: int = SMALL
    delayed: int = SMALL
    limit_keys: int = 0
    letters: int = SMALL
    markers: int = 0
    each_holds: int = EACH_HOLDS


class Cost(NamedTuple):
    """What a call made the server do: how many commands, their microseconds, those of the longest."""

    commands: int
    total_us: float
    longest_us: float


def cost_of(client: redis.Redis, call: Callable[[], Any]) -> Cost:
    """Of one call: of scripts with all that they run, or of plain commands where it sends no script."""
    client.config_set("latency-tracking-info-percentiles", 100)
    client.config_resetstat()
    call()
    counts: Any = client.info("commandstats")
    longest: Any = client.info("latencystats")
    names = [name.removeprefix("cmdstat_") for name in counts if not name.startswith(OURS)]
    names = [name for name in names if name in SENT] or names
    facts = [counts[f"cmdstat_{name}"] for name in names]
    return Cost(
        sum(one["calls"] for one in facts),
        sum(one["usec"] for one in facts),
        max((longest[f"latency_percentiles_usec_{name}"]["p100"] for name in names), default=0.0),
    )


class Large:
    """A queue of this size, filled by the calls that its users have."""

    def __init__(self, client: redis.Redis, size: Size) -> None:
        self.client, self.size = client, size
        self.queue = RedisMessageQueue(NAME, client=client, deduplication=False)
        self.numbers = iter(range(10**9))
        self.held: list[Claim] = []
        self.receipts: list[str] = []
        self._fill()
        self.worker = self.consumer_of("probe")
        self.mine = self._claimed_by(self.worker, size.each_holds)

    @staticmethod
    def _claimed_by(consumer: Consumer, count: int) -> list[Claim]:
        claims: list[Claim] = []
        while len(claims) < count and (more := consumer.claim(min(AT_ONCE, count - len(claims))).claims):
            claims += more
        return claims

    def consumer_of(self, name: str, **options: Any) -> Consumer:
        """A consumer that has reported, and keeps its leases for an hour."""
        identity = WorkerIdentity(name, self.size.each_holds, instance=name, config_hash="v1")
        consumer = Consumer(self.client, NAME, visibility_timeout_seconds=3600, worker=identity, **options)
        consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
        return consumer

    def payloads(self, count: int) -> list[str]:
        """So many texts of 100 bytes, no two alike."""
        return [f"{next(self.numbers):0100}" for _ in range(count)]

    def _fill(self) -> None:
        size, queue = self.size, self.queue
        at_first = size.in_flight + size.letters + size.each_holds
        for start in range(0, at_first, AT_ONCE):
            queue.enqueue_many(self.payloads(min(AT_ONCE, at_first - start)))
        self.client.set(KEYS.lease_token_counter, 10**6)  # it has handled a million before
        reaper = self.consumer_of("reaper", keep_failed=10**9)
        for start in range(0, size.letters, AT_ONCE):
            given_up = reaper.claim(min(AT_ONCE, size.letters - start)).claims
            reaper.settle([Settlement(one, Outcome.DEAD, reason="why") for one in given_up])
        each = min(size.each_holds, size.in_flight)
        for place in range(size.in_flight // each):
            self.held += self._claimed_by(self.consumer_of(f"holder-{place}"), each)
        queue.enqueue_many(self.payloads(size.delayed), delay_seconds=3600)
        if size.limit_keys:
            names = [f"tenant-{number}" for number in range(size.limit_keys)]
            queue.enqueue_many(self.payloads(size.limit_keys), limit_keys=names)
        self.receipts = [one.message_id for one in queue.enqueue_many(self.payloads(size.pending))]
        for start in range(0, size.markers, AT_ONCE):
            pipeline = self.client.pipeline(transaction=False)
            for number in range(start, min(size.markers, start + AT_ONCE)):
                pipeline.set(KEYS.deduplication(f"{number:064x}"), "", ex=3600)
            pipeline.execute()

    # -- calls, each of which leaves the queue about as large as it was --

    def settle_and_claim(self, count: int) -> None:
        """The newest of this consumer."""
        ends = [Settlement(one, Outcome.DONE) for one in self.mine[:count]]
        self.mine = [*self.mine[count:], *self.worker.settle(ends, claim=count).claimed.claims]

    def settle_of(self, place: float) -> None:
        """Another's message: the oldest in flight at 0, the newest at 1."""
        one = self.held.pop(int(place * (len(self.held) - 1)))
        assert self.worker.settle([Settlement(one, Outcome.DONE)]).applied == (True,)

    def end_one(self, outcome: Outcome, **facts: Any) -> None:
        """Claim a message and settle it so."""
        (claim,) = self.worker.claim(1).claims
        self.worker.settle([Settlement(claim, outcome, **facts)])

    def process(self) -> None:
        """As a consumer of one message does."""
        with self.queue.process_message():
            pass

    def with_limits(self) -> None:
        """Claim and settle sixteen under limits of each key."""
        limited = Consumer(
            self.client, NAME, key_limits=Limits(rate_per_second=10, rate_burst=2, max_in_flight=2)
        )
        claims = limited.claim(16).claims
        limited.settle([Settlement(one, Outcome.DONE) for one in claims])

    def lost(self, place: int) -> None:
        """Give back what an ended process had in hand."""
        expire_leases(self.client, KEYS, f"holder-{place}")


def calls_of(large: Large) -> dict[str, Callable[[], Any]]:
    """Every call by the name that tables give it; the last ones take much away."""
    queue, client, worker = large.queue, large.client, large.worker
    with_deduplication = RedisMessageQueue(NAME, client=client, deduplication=True)
    capped = RedisMessageQueue(NAME, client=client, deduplication=False, max_pending_length=10**9)

    def one() -> str:
        return large.payloads(1)[0]

    def waiting(place: float) -> str:
        return large.receipts.pop(int(place * (len(large.receipts) - 1)))

    return {
        "publish": lambda: queue.publish(one()),
        "publish with deduplication": lambda: with_deduplication.publish(one()),
        "publish to a bounded queue": lambda: capped.publish(one()),
        "enqueue at the front": lambda: queue.enqueue(one(), at_front=True),
        "enqueue for later": lambda: queue.enqueue(one(), delay_seconds=3600),
        "enqueue with a limit key": lambda: queue.enqueue(one(), limit_key=f"tenant-{random.random()}"),
        "settle 1, claim 1": lambda: large.settle_and_claim(1),
        "settle 16, claim 16": lambda: large.settle_and_claim(16),
        "claim 16, settle 16 with limits of keys": large.with_limits,
        "settle the newest in flight": lambda: large.settle_of(1),
        "settle the oldest in flight": lambda: large.settle_of(0),
        "settle one in the middle": lambda: large.settle_of(0.5),
        "retry now": lambda: large.end_one(Outcome.RETRY),
        "retry later": lambda: large.end_one(Outcome.RETRY, delay_seconds=3600),
        "release": lambda: large.end_one(Outcome.RELEASE),
        "a dead letter": lambda: large.end_one(Outcome.DEAD, reason="why"),
        "process_message": large.process,
        "renew 16 leases": lambda: worker.renew(large.mine[:16]),
        "report of a worker": lambda: worker.report(busy=16, oldest_start_age_seconds=1, draining=False),
        "sample (the operator, each second)": lambda: sample(client, [KEYS]),
        "retire an idle worker": lambda: retire(client, KEYS, ["reaper"]),
        "stats": queue.stats,
        "peek": lambda: queue.peek(10),
        "search for queues (top, stats)": lambda: discover(client, "::"),
        "reasons of dead letters": lambda: letter_reasons(client, KEYS),
        "dead_letters, the newest 100": queue.dead_letters,
        "dead_letters, the oldest 100": lambda: queue.dead_letters(
            start=max(0, queue.stats().dead_letter - 100)
        ),
        "find a new message": lambda: queue.find(large.receipts[-1]),
        "find the oldest": lambda: queue.find(large.receipts[0]),
        "find one in flight": lambda: queue.find(large.held[0].id or ""),
        "find what is nowhere": lambda: queue.find("nowhere"),
        "cancel a new message": lambda: queue.cancel(waiting(1)),
        "cancel one in the middle": lambda: queue.cancel(waiting(0.5)),
        "cancel one in flight": lambda: queue.cancel(large.held[0].id or ""),
        "redrive of 10": lambda: queue.redrive(max_messages=10),
        "redrive_letters, the newest": lambda: queue.redrive_letters(
            [queue.dead_letters(1)[0].message_id or ""]
        ),
        "give back of a dead process": lambda: large.lost(0),
        "repair, nothing lost": lambda: queue.repair(dry_run=True),
        "repair, a message lost": lambda: (client.rpop(KEYS.processing), queue.repair()),
        "purge of dead letters": lambda: queue.purge(target="dead_letter"),
        "purge of pending": lambda: queue.purge(target="pending"),
    }


# What puts messages into lanes, or leaves a mark, changes how later calls go; and these take much away.
LATER = ("enqueue with a limit key", "claim 16, settle 16 with limits of keys", "cancel one in flight")
ONCE = ("give back", "repair", "purge")


def costs(client: redis.Redis, size: Size, rounds: int) -> dict[str, Cost]:
    """What each call costs at this size: the least of some rounds, whatever else the machine does."""
    client.flushall()
    large = Large(client, size)
    calls = calls_of(large)
    once = [name for name in calls if name.startswith(ONCE)]
    often = [name for name in calls if name not in (*LATER, *once)]
    found: dict[str, list[Cost]] = {name: [] for name in calls}
    for names in (often, LATER, once):
        for number in range(1 if names is once else rounds + 1):
            for name in names:
                cost = cost_of(client, calls[name])
                if number or names is once:  # the first one loads scripts
                    found[name].append(cost)
    return {name: Cost(*(min(each) for each in zip(*seen, strict=True))) for name, seen in found.items()}
