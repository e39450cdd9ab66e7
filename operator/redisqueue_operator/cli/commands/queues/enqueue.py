"""`redisqueue enqueue`: messages from arguments, or one per line of standard input; each is told with its id.

Exit code 3: at least one was a duplicate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from redis_message_queue.enqueue import Priority
from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.commands.queues.publish import DEDUPLICATION, add_messages, lines_of_input
from redisqueue_operator.cli.options import (
    NOT_DONE,
    UsageError,
    add_json,
    add_place,
    as_json,
    count,
    given_by,
    moment,
    rate,
)

if TYPE_CHECKING:
    import argparse

    from redis_message_queue import Receipt
    from redisqueue_operator.cli.options import Subcommands

OPTIONS = {
    "delay_seconds": "--delay",
    "at": "--at",
    "at_front": "--front",
    "limit_key": "--limit-key",
    "message_id": "--id",
    **DEDUPLICATION,
}


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("enqueue", description=__doc__)
    add_messages(parser)
    parser.add_argument("--delay", type=rate, metavar="SECONDS", help="it is due so much later")
    parser.add_argument(
        "--at",
        type=moment,
        metavar="TIME",
        help="it is due then: ISO 8601 with an offset, as 2026-01-31T08:00+01:00",
    )
    parser.add_argument("--front", action="store_true", help="before all that wait")
    parser.add_argument(
        "--priority",
        choices=get_args(Priority),
        default="normal",
        help="high ones are claimed first, low ones last",
    )
    parser.add_argument(
        "--limit-key",
        metavar="KEY",
        help="a tenant, a customer, a host: keys take turns, and have limits of their own",
    )
    parser.add_argument(
        "--id", metavar="ID", help="of the message, in place of a random one; for one message"
    )
    parser.add_argument(
        "--deduplication-key",
        metavar="TEXT",
        help="a message with this key is a duplicate of the first; for one message",
    )
    parser.add_argument(
        "--deduplication-seconds", type=count, metavar="N", help="how long the key is held (default: 3600)"
    )
    add_json(parser, "one object a line: message_id, enqueued, first_id")
    add_place(parser)
    parser.set_defaults(run=run, words="messages")


def run(options: argparse.Namespace) -> int:
    """Enqueue, and say what became of each message."""
    for flag, value in (("--id", options.id), ("--deduplication-key", options.deduplication_key)):
        if value is not None and len(options.messages) != 1:
            raise UsageError(f"{flag}: it is for one message; give one")
    duplicates = 0
    with located(options, options.queue) as place, place.connect() as client:
        queue, chosen = place.queue(client), arguments(options)
        for message in options.messages or lines_of_input():
            with given_by(**OPTIONS):
                receipt = queue.enqueue(message, **chosen)
            duplicates += not receipt
            print(as_json(receipt) if options.json else told(receipt), flush=True)
    return NOT_DONE if duplicates else 0


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What `enqueue` is asked."""
    return {
        "delay_seconds": options.delay,
        "at": options.at,
        "at_front": options.front,
        "priority": options.priority,
        "limit_key": options.limit_key,
        "message_id": options.id,
        "deduplication_key": options.deduplication_key,
        "deduplication_seconds": options.deduplication_seconds,
    }


def told(receipt: Receipt) -> str:
    """A line for a person."""
    if receipt:
        return f"enqueued {receipt.message_id}"
    return f"duplicate of {receipt.first_id or 'a message that its key does not name'}"
