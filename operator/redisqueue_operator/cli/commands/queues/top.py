"""`redisqueue top`, `stats` and `workers`: the numbers of queues and who consumes them, read from Redis."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from redis import RedisError
from redis.exceptions import RedisClusterException

from redis_message_queue.server import server_facts
from redis_message_queue.stats import QueueSample, sample
from redis_message_queue.trouble import described
from redisqueue_operator.cli.address import at_url, discover, located
from redisqueue_operator.cli.options import UserError, add_place
from redisqueue_operator.cli.screen import Screen, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from redisqueue_operator.cli.address import Client, Place
    from redisqueue_operator.cli.options import Subcommands

TOP = "The queues of a Redis, read from Redis itself, once a second."
INTERVAL_SECONDS = 1.0
HEADER = ("QUEUE", "PENDING", "DELAYED", "IN FLIGHT", "FAILED", "DLQ", "WORKERS", "BUSY", "SLOTS", "CLAIMS/S")


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("top", description=TOP)
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
