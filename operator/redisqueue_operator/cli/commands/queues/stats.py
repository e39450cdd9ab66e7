"""`redisqueue stats` and `workers`: the numbers of queues and who consumes them, once, for a script."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from redis_message_queue.looking import moment_of
from redis_message_queue.stats import QueueSample, sample
from redisqueue_operator.cli.address import at_url, discover, located
from redisqueue_operator.cli.foreign_keys import described
from redisqueue_operator.cli.options import QUEUE_HELP, UserError, add_json, add_place, spelled
from redisqueue_operator.cli.screen import harmless, table

if TYPE_CHECKING:
    import argparse

    from redis_message_queue.stats import WorkerState
    from redisqueue_operator.cli.options import Subcommands

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
    """Declare `stats` and `workers`."""
    parser = subcommands.add_parser("stats", description=STATS)
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="names of queues, or rq/NAME; none: all that are found"
    )
    add_place(parser)
    add_json(parser, f"a list of objects: {', '.join(STATS_SHAPE)}; or queue and problem")
    parser.set_defaults(run=run_stats, words="queues")

    parser = subcommands.add_parser("workers", description=WORKERS)
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    add_place(parser)
    add_json(parser, f"a list of objects: {', '.join(WORKER_SHAPE)}")
    parser.set_defaults(run=run_workers)


def run_stats(options: argparse.Namespace) -> int:
    """Print the numbers of each queue, on whichever Redis it is; 1 where one of them cannot be read."""
    found: list[dict[str, Any]] = []
    named = options.queues or ([None] if options.file else [])
    with ExitStack() as stack:
        if not named:
            place = at_url(options, "all")
            client = stack.enter_context(place.connect())
            every = discover(client, place.keys.separator)
            for keys, seen in zip(every, sample(client, every) if every else [], strict=True):
                found.append(stats_or_problem(keys.name, seen))
        for name in named:
            place = stack.enter_context(located(options, name))
            client = stack.enter_context(place.connect())
            place.must_exist(client)
            found.append(stats_or_problem(place.keys.name, sample(client, [place.keys])[0]))
    if options.json:
        print(json.dumps(found))
    elif found:
        header = [name.replace("_", " ").upper() for name in STATS_SHAPE]
        print("\n".join(table(header, [[one.get(name) for name in STATS_SHAPE] for one in found])))
    else:
        print("no queue found: name one, or look at another database")
    wrong = [one for one in found if "problem" in one]
    for one in wrong:
        print(harmless(f"redisqueue: {one['queue']}: {one['problem']}"), file=sys.stderr)
    return 1 if wrong else 0


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
        raise UserError(f"{name}: {described(seen)}") from seen
    return seen


def stats_or_problem(name: str, seen: QueueSample | Exception) -> dict[str, Any]:
    """The numbers of one queue, or why they cannot be read: that hides no other queue."""
    return (
        {"queue": name, "problem": described(seen)} if isinstance(seen, Exception) else stats_of(name, seen)
    )


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
        "heard": moment_of(worker.updated_ms),
        "pod_uid": worker.pod_uid or None,
        "config_hash": worker.config_hash or None,
    }
