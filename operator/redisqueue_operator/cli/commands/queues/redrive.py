"""`redisqueue redrive`: dead or failed letters become pending again, oldest first, with new delivery budgets.

It may be stopped at any point: nothing is lost, nothing moves twice, and starting it again goes on. Only
letters that were there at the start are looked at, and those that do not match stay. Deduplication does not
apply.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, cast

from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import QUEUE_HELP, UsageError, add_json, add_place, as_json, count, rate
from redisqueue_operator.cli.screen import Screen
from redisqueue_operator.redrive.match import Match

if TYPE_CHECKING:
    import argparse

    from redis_message_queue import RedriveProgress
    from redisqueue_operator.cli.options import Subcommands

SOURCES = {"dead-letter": "dead_letter", "failed": "failed"}


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("redrive", description=__doc__)
    parser.add_argument("queue", metavar="QUEUE", nargs="?", help=QUEUE_HELP)
    parser.add_argument(
        "--from", dest="source", choices=SOURCES, default="dead-letter", help="(default: dead-letter)"
    )
    parser.add_argument("--max", type=count, metavar="N", help="move at most so many")
    parser.add_argument("--rate", type=rate, metavar="N", help="move so many a second (default: no limit)")
    parser.add_argument(
        "--match", metavar="REGEX", help="only those in whose payload this regular expression is found"
    )
    parser.add_argument(
        "--field",
        metavar="PATH=VALUE",
        help="only JSON objects with this value there, as type=invoice or order.paid=true",
    )
    parser.add_argument(
        "--reason",
        metavar="REGEX",
        help="only dead letters in whose record a worker gave such a reason; the last 1000 have one",
    )
    parser.add_argument("--dry-run", action="store_true", help="count what would move, and move nothing")
    add_json(
        parser, "an object: queue, from, dry_run, moved, skipped (do not match), remaining (not looked at)"
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Move, and say how many. 130 when it was interrupted."""
    match, screen = match_of(options), Screen(sys.stderr)
    last: list[RedriveProgress] = []

    def show(progress: RedriveProgress) -> None:
        last[:] = [progress]
        if screen.live:
            screen.draw([summary(options, name, progress)])

    with located(options, options.queue) as place, place.connect() as client:
        name = place.keys.name
        place.must_exist(client)
        if match.reason is not None:
            records = cast("list[bytes]", client.lrange(place.keys.dead_letter_info, 0, -1))
            match = dataclasses.replace(match, records=records)
        try:
            done = place.queue(client).redrive(
                SOURCES[options.source],  # type: ignore[arg-type]  # one of the two
                max_messages=options.max,
                per_second=options.rate,
                match=match or None,
                dry_run=options.dry_run,
                on_progress=show,
            )
        except KeyboardInterrupt:
            told = summary(options, name, last[0]) if last else f"{name}: nothing was moved"
            print(f"{told}; interrupted: start it again to go on", file=sys.stderr)
            return 130
    screen.leave()
    if options.json:
        facts = {"queue": name, "from": options.source, "dry_run": options.dry_run}
        print(as_json({**facts, **dataclasses.asdict(done)}))
    else:
        print(summary(options, name, done))
    return 0


def match_of(options: argparse.Namespace) -> Match:
    """What the options choose. Raises UsageError."""
    path, given, value = (options.field or "").partition("=")
    if options.field is not None and not (path and given):
        raise UsageError(f"--field: {options.field!r} is not of the form PATH=VALUE, as type=invoice")
    if options.reason is not None and options.source != "dead-letter":
        raise UsageError("--reason: only dead letters have a record of why; leave --from out")
    field, equals = path or None, value if given else None
    try:
        return Match(pattern=options.match, field=field, equals=equals, reason=options.reason)
    except ValueError as error:
        raise UsageError(f"--match, --reason: {error}") from error


def summary(options: argparse.Namespace, name: str, progress: RedriveProgress) -> str:
    """One line: what moved, what stays, what was not looked at."""
    verb = "would move" if options.dry_run else "moved"
    letters = "dead" if options.source == "dead-letter" else "failed"
    parts = [f"{name}: {verb} {progress.moved} {letters} letter{'s' * (progress.moved != 1)} to pending"]
    if progress.skipped:
        parts.append(f"{progress.skipped} do not match")
    if progress.remaining:
        parts.append(f"{progress.remaining} not looked at")
    return ", ".join(parts)
