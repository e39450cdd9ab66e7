"""`redisqueue top`, `stats` and `workers`: the numbers of queues and who consumes them, read from Redis."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redis import RedisError
from redis.exceptions import RedisClusterException

from redis_message_queue.server import server_facts
from redis_message_queue.stats import QueueSample, sample
from redis_message_queue.trouble import described
from redisqueue_operator.cli.address import at_url, discover, located
from redisqueue_operator.cli.options import QUEUE_HELP, UserError, add_json, add_place, spelled
from redisqueue_operator.cli.screen import Screen, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from redis_message_queue.stats import WorkerState
    from redisqueue_operator.cli.address import Client, Place
    from redisqueue_operator.cli.options import Subcommands

TOP = "The queues of a Redis, read from Redis itself, once a second."
INTERVAL_SECONDS = 1.0
HEADER = ("QUEUE", "PENDING", "DELAYED", "IN FLIGHT", "FAILED", "DLQ", "WORKERS", "BUSY", "SLOTS", "CLAIMS/S")


STATS = """How many messages wait, are in hand, have failed, and how many workers there are.

pending waits now, delayed for its time; what is expired or orphaned is in flight with a lease that has
ended, or with none (see `repair`). `top` shows the same, live.
"""
WORKERS = """The workers of a queue, as they told Redis in the last minute.

busy is how many messages one has in hand. A worker that is draining claims no more, one that is retired was
chosen by the operator to leave, one that is tripped has handlers that fail in a row.
"""
NUMBERS = (
    "pending",
    "delayed",
    "in_flight",
    "expired",
    "orphaned",
    "completed",
    "failed",
    "dead_letter",
    "next_due_seconds",
    "claims_total",
)
STATS_SHAPE = ("queue", *NUMBERS, "workers", "busy", "slots")
WORKER_SHAPE = (
    "worker",
    "slots",
    "busy",
    "oldest_seconds",
    "draining",
    "retired",
    "tripped",
    "heard",
    "pod_uid",
    "config_hash",
)


def add_to(subcommands: Subcommands) -> None:
    """Declare the commands."""
    add_top(subcommands)
    add_stats(subcommands)


# -- top --


def add_top(subcommands: Subcommands) -> None:
    """Declare `top`."""
    parser = subcommands.add_parser("top", help="show queues, live", description=TOP)
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="names of queues, or rq/NAME; none: all that are found"
    )
    parser.add_argument(
        "--once", action="store_true", help="print once and end; so does output to a file or pipe"
    )
    add_place(parser)
    parser.set_defaults(run=run, words="queues")


def run(options: argparse.Namespace) -> int:
    """Draw until Ctrl-C, or once. A Redis that goes away meanwhile is waited for, with what was seen last."""
    screen = Screen()
    with ExitStack() as stack:
        named = options.queues or ([None] if options.file else [])
        places = [stack.enter_context(located(options, name)) for name in named]
        place = places[0] if places else at_url(options, "all")
        if any(each.settings.redacted != place.settings.redacted for each in places):
            raise UserError("these queues are not on one Redis: look at them one by one")
        view = View(stack.enter_context(place.connect()), places, place.keys.separator)
        while True:
            try:
                view.look()
                trouble = []
            except (RedisError, RedisClusterException) as error:
                if options.once or not screen.live:
                    raise
                trouble = [f"Redis: {described(error)}; trying again"]
            if screen.live:
                screen.draw([*view.lines, *view.remarks, *trouble])
            else:
                print(*view.remarks, sep="\n", end="\n" * bool(view.remarks), file=sys.stderr)
                screen.draw(view.lines)
            if options.once or not screen.live:
                return 0
            time.sleep(INTERVAL_SECONDS)


class View:
    """What was seen last."""

    def __init__(self, client: Client, places: Sequence[Place], separator: str) -> None:
        self.lines: list[str] = []
        self.remarks: list[str] = []
        self._client = client
        self._places = places
        self._separator = separator
        self._before: dict[str, QueueSample] = {}
        self._begun = False

    def look(self) -> None:
        """Look again. Raises UserError for a queue that never was, RedisError for a Redis that is away."""
        if not self._begun:
            for place in self._places:
                place.must_exist(self._client)
            self.remarks = remarks_on(self._client)
            self._begun = True
        found = [each.keys for each in self._places] or discover(self._client, self._separator)
        samples = sample(self._client, found) if found else []
        seen = dict(zip((keys.name for keys in found), samples, strict=True))
        rows = [row(name, queue, self._before.get(name)) for name, queue in seen.items()]
        nothing = ["no queue found: name one, or look at another database"]
        self.lines = table(HEADER, rows) if rows else nothing
        self._before = {name: queue for name, queue in seen.items() if isinstance(queue, QueueSample)}


def remarks_on(client: Client) -> list[str]:
    """What is wrong, or not known, of a server that shall keep messages."""
    facts = server_facts(client)
    remarks = [f"warning: {concern.reason}: {concern.text}" for concern in facts.concerns]
    if facts.unknown:
        remarks.append(f"unknown: this Redis does not tell {', '.join(facts.unknown)} (INFO, CONFIG GET)")
    return remarks


def row(name: str, queue: QueueSample | Exception, before: QueueSample | None) -> tuple[object, ...]:
    """The cells of one queue; None where something is not known."""
    if isinstance(queue, Exception):
        return (name, *[None] * (len(HEADER) - 2), str(queue))
    return (
        name,
        queue.pending,
        queue.delayed,
        queue.in_flight,
        queue.failed,
        queue.dead_letter,
        len(queue.workers),
        sum(worker.busy for worker in queue.workers),
        sum(worker.slots for worker in queue.workers),
        claims_per_second(queue, before),
    )


def claims_per_second(queue: QueueSample, before: QueueSample | None) -> str | None:
    """From the counter of claims; None for the first look, or after the counter was reset."""
    if before is None or queue.claims_total is None or before.claims_total is None:
        return None
    claims, seconds = queue.claims_total - before.claims_total, (queue.time_ms - before.time_ms) / 1000
    return f"{claims / seconds:.1f}" if claims >= 0 and seconds > 0 else None


# -- stats and workers --


def add_stats(subcommands: Subcommands) -> None:
    """Declare `stats` and `workers`."""
    parser = subcommands.add_parser("stats", help="how many messages there are, where", description=STATS)
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="names of queues, or rq/NAME; none: all that are found"
    )
    add_place(parser)
    add_json(parser, f"a list of objects: {', '.join(STATS_SHAPE)}")
    parser.set_defaults(run=run_stats, words="queues")

    parser = subcommands.add_parser("workers", help="who consumes a queue", description=WORKERS)
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    add_place(parser)
    add_json(parser, f"a list of objects: {', '.join(WORKER_SHAPE)}")
    parser.set_defaults(run=run_workers)


def run_stats(options: argparse.Namespace) -> int:
    """Print the numbers of each queue, on whichever Redis it is."""
    found: list[dict[str, Any]] = []
    named = options.queues or ([None] if options.file else [])
    with ExitStack() as stack:
        if not named:
            place = at_url(options, "all")
            client = stack.enter_context(place.connect())
            every = discover(client, place.keys.separator)
            for keys, seen in zip(every, sample(client, every) if every else [], strict=True):
                found.append(stats_of(keys.name, seen))
        for name in named:
            place = stack.enter_context(located(options, name))
            client = stack.enter_context(place.connect())
            place.must_exist(client)
            found.append(stats_of(place.keys.name, sample(client, [place.keys])[0]))
    if options.json:
        print(json.dumps(found))
    elif found:
        header = [name.replace("_", " ").upper() for name in STATS_SHAPE]
        print("\n".join(table(header, [[one[name] for name in STATS_SHAPE] for one in found])))
    else:
        print("no queue found: name one, or look at another database")
    return 0


def run_workers(options: argparse.Namespace) -> int:
    """Print what each worker said of itself."""
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        seen = told_by(place.keys.name, sample(client, [place.keys])[0])
    found = [worker_of(one, seen.time_ms) for one in sorted(seen.workers, key=lambda worker: worker.id)]
    if options.json:
        print(
            json.dumps([{**one, "heard": one["heard"].isoformat(timespec="milliseconds")} for one in found])
        )
    elif found:
        columns = WORKER_SHAPE[:8]
        rows = [[_cell(one[name]) for name in columns] for one in found]
        print("\n".join(table([name.replace("_", " ").upper() for name in columns], rows)))
    else:
        print("no worker was heard of in the last minute")
    return 0


def _cell(value: object) -> object:
    """For a person: an age of nothing is a dash, yes and no are words."""
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else spelled(value)


def told_by(name: str, seen: QueueSample | Exception) -> QueueSample:
    """What a look at a queue brought. Raises UserError for a queue that could not be read."""
    if isinstance(seen, Exception):
        raise UserError(f"{name}: {seen}") from seen
    return seen


def stats_of(name: str, seen: QueueSample | Exception) -> dict[str, Any]:
    """The numbers of one queue, by their names."""
    queue = told_by(name, seen)
    workers = queue.workers
    return {
        "queue": name,
        **{number: getattr(queue, number) for number in NUMBERS},
        "workers": len(workers),
        "busy": sum(worker.busy for worker in workers),
        "slots": sum(worker.slots for worker in workers),
    }


def worker_of(worker: WorkerState, time_ms: int) -> dict[str, Any]:
    """What is known of one worker; ages by the server's clock."""
    began = worker.oldest_start_ms
    return {
        "worker": worker.id,
        "slots": worker.slots,
        "busy": worker.busy,
        "oldest_seconds": None if began is None else max(0, time_ms - began) / 1000,
        "draining": worker.draining,
        "retired": worker.retired,
        "tripped": worker.tripped,
        "heard": datetime.fromtimestamp(worker.updated_ms / 1000, UTC),
        "pod_uid": worker.pod_uid or None,
        "config_hash": worker.config_hash or None,
    }
