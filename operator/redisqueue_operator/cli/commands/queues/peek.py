"""`redisqueue peek`: look at messages without taking any out of the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from redis_message_queue.envelope import decode, of_lane_member
from redis_message_queue.looking import moment_of
from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import QUEUE_HELP, add_json, add_place, as_json, count
from redisqueue_operator.cli.screen import one_line

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from redis_message_queue.keys import QueueKeys
    from redisqueue_operator.cli.address import Client
    from redisqueue_operator.cli.options import Subcommands

PLACES = ("pending", "processing", "delayed", "failed", "completed", "dead-letters")


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("peek", description=__doc__)
    parser.add_argument("queue", metavar="QUEUE", nargs="?", help=QUEUE_HELP)
    parser.add_argument(
        "--of", choices=PLACES, default="pending", help="which messages (default: pending, next one first)"
    )
    parser.add_argument("--count", type=count, default=10, metavar="N", help="at most so many (default: 10)")
    add_json(parser, "a list of objects: message_id, due, payload (payload_hex where it is no text)")
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line per message: its id, its due time when it is delayed, its payload."""
    with located(options, options.queue) as queue, queue.connect() as client:
        queue.must_exist(client)
        found = (
            delayed(client, queue.keys, options.count)
            if options.of == "delayed"
            else listed(client, queue.keys, options)
        )
    messages = [Peeked.of(due, stored) for due, stored in found]
    if options.json:
        print(as_json(messages))
        return 0
    for one in messages:
        due = [one.due.isoformat(timespec="seconds")] if one.due else []
        print("  ".join([one_line(one.message_id) or "-", *due, one_line(one.payload)]))
    if not messages:
        print(f"{queue.keys.name}: no {options.of} messages")
    return 0


@dataclass(frozen=True)
class Peeked:
    """One message as it is stored; `due` is None unless it is delayed."""

    message_id: str = ""
    due: datetime | None = None
    payload: str | bytes = b""

    @staticmethod
    def of(due: datetime | None, stored: str | bytes) -> Peeked:
        """From what Redis has."""
        envelope = decode(stored)
        return Peeked(envelope.id or "", due, envelope.payload)


def listed(
    client: Client, keys: QueueKeys, options: argparse.Namespace
) -> list[tuple[datetime | None, str | bytes]]:
    """Messages of a list, newest first; pending ones in the order in which they will be claimed.

    Of these, those come last that have a priority or a limit key, one lane after the other.
    """
    name = getattr(keys, options.of.replace("dead-letters", "dead_letter"))
    if options.of == "pending":
        found = client.lrange(name, -options.count, -1)[::-1]
        if (left := options.count - len(found)) > 0:
            members = cast("list[bytes]", client.zrange(keys.lanes.waiting, 0, left - 1))
            found += [of_lane_member(member) for member in members]
    else:
        found = client.lrange(name, 0, options.count - 1)
    return [(None, stored) for stored in found]


def delayed(client: Client, keys: QueueKeys, most: int) -> list[tuple[datetime | None, str | bytes]]:
    """Delayed messages with their due time, soonest first."""
    found = cast("list[tuple[bytes, float]]", client.zrange(keys.delayed, 0, most - 1, withscores=True))
    return [(moment_of(due), stored) for stored, due in found]
