"""`redisqueue repair`: messages in processing whose lease was lost, in part or whole, get one that ends.

For after Redis evicted keys, or somebody deleted some: a message that a consumer still works on without a
lease may run a second time, so it wants --yes where there is something to repair. Nothing moves at once:
whoever has such a message in hand may still settle it, and when the new lease ends a consumer takes it back.
It may be called at any time.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from redis_message_queue.options import DEFAULT_GRACE_SECONDS, DEFAULT_VISIBILITY_TIMEOUT_SECONDS
from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import (
    QUEUE_HELP,
    UserError,
    add_json,
    add_place,
    as_json,
    given_by,
    rate,
)

if TYPE_CHECKING:
    import argparse

    from redis_message_queue import RepairReport
    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("repair", description=__doc__)
    parser.add_argument("queue", metavar="QUEUE", nargs="?", help=QUEUE_HELP)
    parser.add_argument(
        "--grace",
        type=rate,
        default=DEFAULT_GRACE_SECONDS,
        metavar="SECONDS",
        help="the lease of messages that have no token: consumers without a visibility timeout keep theirs so"
        f" while they work, so more than the longest handler takes (default: {DEFAULT_GRACE_SECONDS:g})",
    )
    parser.add_argument("--yes", action="store_true", help="really; without it they are only counted")
    parser.add_argument("--dry-run", action="store_true", help="count them, and change nothing")
    add_json(
        parser,
        "an object: queue, dry_run, looked_at, without_deadline, without_lease, without_message",
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Repair, and say what was found. Raises UserError where that is something, unless it is confirmed."""
    dry_run = options.dry_run or not options.yes
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        queue = place.queue(client)
        with given_by(grace_seconds="--grace"):
            report = queue.repair(grace_seconds=options.grace, dry_run=dry_run)
    if report.found and dry_run and not options.dry_run:
        told = summary(place.keys.name, report, options)
        raise UserError("\n".join(["--yes: nothing is changed without it", *told]))
    if options.json:
        facts = {"queue": place.keys.name, "dry_run": options.dry_run}
        print(as_json({**facts, **dataclasses.asdict(report)}))
    else:
        print(*summary(place.keys.name, report, options), sep="\n")
    return 0


def summary(name: str, report: RepairReport, options: argparse.Namespace) -> list[str]:
    """One line for each kind of damage, with what becomes of the messages."""
    lines = [f"{name}: looked at {counted(report.looked_at, 'message')} in processing"]
    if not report.found:
        return [f"{lines[0]}: each has its lease"]
    only_looked = options.dry_run or not options.yes
    verb = "would come" if only_looked else "come"
    usual, grace = f"in {DEFAULT_VISIBILITY_TIMEOUT_SECONDS} s", f"in {options.grace:g} s"
    if report.without_deadline:
        found = counted(report.without_deadline, "lease")
        lines.append(f"  {found} without an end: {verb} back {usual}, unless renewed or settled")
    if report.without_lease:
        found = counted(report.without_lease, "message")
        lines.append(f"  {found} without a lease: {verb} back {grace}, unless settled")
    if report.without_message:
        found = counted(report.without_message, "lease")
        verb = "would be put back" if only_looked else "put back"
        whose = "its message" if report.without_message == 1 else "their messages"
        lines.append(f"  {found} without {whose}: {verb} into processing")
    return lines


def counted(number: int, what: str) -> str:
    """`1 lease`, `2 leases`."""
    return f"{number} {what}{'s' * (number != 1)}"
