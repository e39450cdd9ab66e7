"""`redisqueue show`: where a message is: pending, delayed, in flight, completed, failed, dead.

Exit code 3: it is nowhere. Completed and failed ones are known while they are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import NOT_DONE, QUEUE_HELP, add_json, add_place, as_json, known

if TYPE_CHECKING:
    import argparse

    from redis_message_queue import Location
    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("show", help="where a message is", description=__doc__)
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    parser.add_argument("id", metavar="ID", help="of the message, as `enqueue` and logs tell it")
    add_json(
        parser,
        "an object: message_id, state, position, due, lease_end, deliveries, worker, at, reason, traceback",
    )
    add_place(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, and say what is known."""
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        location = place.queue(client).find(options.id)
    print(as_json(location) if options.json else "\n".join(told(location)))
    return NOT_DONE if location.state == "unknown" else 0


def told(location: Location) -> list[str]:
    """Lines for a person: the state, then what is known of it."""
    names = ("position", "due", "lease_end", "deliveries", "worker", "at", "reason", "traceback")
    state = f"{location.message_id}: {location.state.replace('_', ' ')}"
    return [state, *(f"  {line}" for line in known(location, *names))]
