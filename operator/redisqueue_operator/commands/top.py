"""`redisqueue top`: the queues of a Redis, read from Redis itself, once a second."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from redis_message_queue.keys import QueueKeys
from redis_message_queue.sample import QueueSample, sample
from redis_message_queue.server import server_facts
from redisqueue_operator.commands.address import at_url, located
from redisqueue_operator.commands.options import UserError, add_place
from redisqueue_operator.screen import Screen, table

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.commands.address import Client
    from redisqueue_operator.commands.options import Subcommands

INTERVAL_SECONDS = 1.0
HEADER = ("QUEUE", "PENDING", "DELAYED", "IN FLIGHT", "FAILED", "DLQ", "WORKERS", "BUSY", "SLOTS", "CLAIMS/S")


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("top", help="show queues, live", description=__doc__)
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="names of queues, or rq/NAME; none: all that are found"
    )
    parser.add_argument(
        "--once", action="store_true", help="print once and end; so does output to a file or pipe"
    )
    add_place(parser)
    parser.set_defaults(run=run, words="queues")


def run(options: argparse.Namespace) -> int:
    """Draw until Ctrl-C, or once."""
    screen = Screen()
    before: dict[str, QueueSample] = {}
    with ExitStack() as stack:
        named = options.queues or ([None] if options.file else [])
        places = [stack.enter_context(located(options, name)) for name in named]
        place = places[0] if places else at_url(options, "all")
        if any(each.settings.redacted != place.settings.redacted for each in places):
            raise UserError("these queues are not on one Redis: look at them one by one")
        client = stack.enter_context(place.connect())
        remarks = remarks_on(client)
        if not screen.live:
            print(*remarks, sep="\n", end="\n" * bool(remarks), file=sys.stderr)
        while True:
            found = [each.keys for each in places] or discover(client, place.keys.separator)
            seen = (
                dict(zip((keys.name for keys in found), sample(client, found), strict=True)) if found else {}
            )
            rows = [row(name, queue, before.get(name)) for name, queue in seen.items()]
            lines = table(HEADER, rows) if rows else ["no queue found: name one, or look at another database"]
            screen.draw([*lines, *remarks] if screen.live else lines)
            if options.once or not screen.live:
                return 0
            before = {name: queue for name, queue in seen.items() if isinstance(queue, QueueSample)}
            time.sleep(INTERVAL_SECONDS)


def remarks_on(client: Client) -> list[str]:
    """What is wrong, or not known, of a server that shall keep messages."""
    facts = server_facts(client)
    remarks = [f"warning: {concern.reason}: {concern.text}" for concern in facts.concerns]
    if facts.unknown:
        remarks.append(f"unknown: this Redis does not tell {', '.join(facts.unknown)} (INFO, CONFIG GET)")
    return remarks


def discover(client: Client, separator: str) -> list[QueueKeys]:
    """Queues that hold messages or have workers, found by their keys."""
    names: set[str] = set()
    for place in ("pending", "processing", "delayed", "failed", "dlq", "workers"):
        suffix = f"{separator}{place}"
        for key in client.scan_iter(match=f"*{suffix}", count=1000):
            text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
            names.add(text.removesuffix(suffix))
    return [QueueKeys(name, separator) for name in sorted(names)]


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
