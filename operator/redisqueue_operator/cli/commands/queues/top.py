"""`redisqueue top`: the queues of a Redis, read from Redis itself, once a second.

On a terminal it is drawn until q or Ctrl-C: how many messages wait, their number in the last minutes, how
long the oldest waits (> where it was there before), what comes and goes in a second, how long until the queue
is empty at these rates, and the workers. While Redis is away the last numbers stay, marked as old. Elsewhere,
and with --once or --json, it looks once.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.address import at_url, located
from redisqueue_operator.cli.commands.queues.stats import stats_of
from redisqueue_operator.cli.live.looks import LookingThread, Looks
from redisqueue_operator.cli.options import UserError, add_json, add_place
from redisqueue_operator.cli.screen import Screen, table

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.live.looks import LiveQueue, LiveView
    from redisqueue_operator.cli.options import Subcommands

INTERVAL_SECONDS = 1.0
REDRAW_SECONDS = 0.5
HEADER = ("QUEUE", "PENDING", "DELAYED", "IN FLIGHT", "FAILED", "DLQ", "WORKERS", "BUSY", "SLOTS", "CLAIMS/S")
NOTHING = "no queue found: name one, or look at another database"
WITHOUT_RICH = "bars, trends and times: pip install 'redis-queue-operator[local]'"


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("top", description=__doc__)
    parser.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="names of queues, or rq/NAME; none: all that are found"
    )
    parser.add_argument(
        "--once", action="store_true", help="print once and end; so does output to a file or pipe"
    )
    add_json(parser, "once, an object: at, redis, queues (as `stats` has them, or queue and problem)")
    add_place(parser)
    parser.set_defaults(run=run, words="queues")


def run(options: argparse.Namespace) -> int:
    """Draw until q or Ctrl-C, or print once."""
    with ExitStack() as stack:
        named = options.queues or ([None] if options.file else [])
        places = [stack.enter_context(located(options, name)) for name in named]
        place = places[0] if places else at_url(options, "all")
        if any(each.settings.redacted != place.settings.redacted for each in places):
            raise UserError("these queues are not on one Redis: look at them one by one")
        looks = Looks(stack.enter_context(place.connect()), places, place.keys.separator)
        if options.once or options.json or not sys.stdout.isatty():
            seen = looks.look()
            print(*seen.remarks, sep="\n", end="\n" * bool(seen.remarks), file=sys.stderr)
            print(as_json(seen, place.settings.redacted) if options.json else "\n".join(plain(seen)))
        else:
            watch(looks, place.settings.redacted)
    return 0


def watch(looks: Looks, where: str) -> None:
    """Draw until q, Ctrl-C or SIGTERM."""
    thread = LookingThread(looks, INTERVAL_SECONDS)
    thread.start()
    try:
        from rich.live import Live  # noqa: F401, PLC0415 - whoever has the base alone sees a plain table
    except ModuleNotFoundError:
        watch_plainly(thread)
    else:
        watch_in_colour(thread, where)


def watch_in_colour(thread: LookingThread, where: str) -> None:
    """The whole terminal, which has its text back afterwards."""
    # The library and its terminal are loaded by whoever looks.
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from redisqueue_operator.cli.live.picture import picture  # noqa: PLC0415
    from redisqueue_operator.cli.live.terminal import keys  # noqa: PLC0415

    console, first = Console(highlight=False, soft_wrap=True), 0
    ascii_only = not console.encoding.startswith("utf")
    with keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            seen, size = thread.seen(), (console.width, console.height)
            now = datetime.now(UTC)
            live.update(picture(seen, where, now, size, first=first, ascii_only=ascii_only), refresh=True)
            key = pressed.wait(REDRAW_SECONDS)
            if key == "quit":
                return
            first = min(max(first + {"up": -1, "down": 1}.get(key, 0), 0), max(len(seen.queues) - 1, 0))


def watch_plainly(thread: LookingThread) -> None:
    """A table that is redrawn in place."""
    from redisqueue_operator.cli.live.terminal import keys  # noqa: PLC0415

    screen = Screen()
    with keys() as pressed:
        while True:
            seen = thread.seen()
            trouble = [f"Redis: {seen.trouble}; trying again"] if seen.trouble else []
            old = [f"OLD: numbers of {seen.at:%H:%M:%SZ}"] if seen.trouble and seen.at else []
            screen.draw([*(plain(seen) if seen.at else []), *seen.remarks, *old, *trouble, WITHOUT_RICH])
            if pressed.wait(REDRAW_SECONDS) == "quit":
                return


def plain(seen: LiveView) -> list[str]:
    """A table of words."""
    return table(HEADER, [row(queue) for queue in seen.queues]) if seen.queues else [NOTHING]


def row(queue: LiveQueue) -> tuple[object, ...]:
    """The cells of one queue; None where something is not known."""
    sample, rate = queue.sample, queue.rates.claims_per_second
    if sample is None:
        return (queue.name, *[None] * (len(HEADER) - 2), queue.problem)
    return (
        queue.name,
        *(sample.pending, sample.delayed, sample.in_flight, sample.failed, sample.dead_letter),
        *(len(sample.workers), queue.busy, queue.slots),
        None if rate is None else f"{rate:.1f}",
    )


def as_json(seen: LiveView, where: str) -> str:
    """One line for a program."""
    queues: list[dict[str, Any]] = [
        {"queue": queue.name, "problem": queue.problem}
        if queue.sample is None
        else stats_of(queue.name, queue.sample)
        for queue in seen.queues
    ]
    at = None if seen.at is None else seen.at.isoformat(timespec="milliseconds")
    return json.dumps({"at": at, "redis": where, "queues": queues}, ensure_ascii=False)
