"""`redisqueue show`, `result` and `cancel`: what is known of one message, and its end, by its id."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import (
    NOT_DONE,
    QUEUE_HELP,
    UserError,
    add_json,
    add_place,
    as_json,
    given_by,
    known,
)
from redisqueue_operator.cli.screen import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis_message_queue import Location
    from redis_message_queue.cancelling import Cancellation
    from redisqueue_operator.cli.options import Subcommands

SHOW = """Where a message is: pending, delayed, in flight, completed, failed, dead.

Exit code 3: it is nowhere. Completed and failed ones are known while they are kept.
"""
RESULT = """What became of a message, and what its handler returned.

Known once it has ended in a worker that keeps results (worker.results.ttlSeconds), while that keeps them.

Exit code 0: completed, its value is printed as JSON. 3: nothing is known, or not in time. 4: it has failed,
or was cancelled.
"""
CANCEL = """Cancel a message.

removed: it waited, and is never started. requested: a handler has it in hand, and is told or ended; the
message does not come again. Exit code 3: it has finished, or it is nowhere.
"""
ENDED_OTHERWISE = 4
"""Exit code: the message has ended, and not by being handled."""
_LONGEST_SECONDS = 10 * 365 * 24 * 3600


def add_to(subcommands: Subcommands) -> None:
    """Declare the commands."""
    add_show(subcommands)
    add_result(subcommands)
    add_cancel(subcommands)


def declared(
    subcommands: Subcommands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A command on one message."""
    parser = subcommands.add_parser(name, description=text)
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    parser.add_argument("id", metavar="ID", help="of the message, as `enqueue` and logs tell it")
    add_place(parser)
    parser.set_defaults(run=run)
    return parser


def seconds(text: str) -> float:
    """A number of seconds that one can wait for, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to {_LONGEST_SECONDS}")
    return number


# -- show --


def add_show(subcommands: Subcommands) -> None:
    """Declare `show`."""
    add_json(
        declared(subcommands, "show", show, SHOW),
        "an object: message_id, state, position, due, lease_end, deliveries, worker, at, reason, traceback",
    )


def show(options: argparse.Namespace) -> int:
    """Look, and say what is known."""
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        with given_by(message_id="ID"):
            location = place.queue(client).find(options.id)
    print(as_json(location) if options.json else "\n".join(told(location)))
    return NOT_DONE if location.state == "unknown" else 0


def told(location: Location) -> list[str]:
    """Lines for a person: the state, then what is known of it."""
    names = ("position", "due", "lease_end", "deliveries", "worker", "at", "reason", "traceback")
    state = f"{location.message_id}: {location.state.replace('_', ' ')}"
    return [state, *(f"  {line}" for line in known(location, *names))]


# -- result --


def add_result(subcommands: Subcommands) -> None:
    """Declare `result`."""
    parser = declared(subcommands, "result", result, RESULT)
    add_json(parser, "an object: state, value, reason; null while nothing is known")
    parser.add_argument(
        "--timeout-seconds",
        type=seconds,
        default=0.0,
        metavar="N",
        help="wait so long for its end (default: 0)",
    )


def result(options: argparse.Namespace) -> int:
    """Look or wait, and print what is known."""
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        try:
            with given_by(message_id="ID", timeout_seconds="--timeout-seconds"):
                found = place.queue(client).result(options.id, timeout_seconds=options.timeout_seconds)
        except ValueError as error:
            raise UserError(f"{options.id}: {error}") from error
    if options.json:
        print(as_json(found))
    elif found is None:
        print(f"{options.id}: nothing is known", file=sys.stderr)
    else:
        if found.state == "completed":
            print(json.dumps(found.value, ensure_ascii=False))
        if found.state != "completed" or found.reason:
            print(harmless(f"{options.id}: {found.state}: {found.reason}"), file=sys.stderr)
    if found is None:
        return NOT_DONE
    return 0 if found.state == "completed" else ENDED_OTHERWISE


# -- cancel --

ANSWERS: Mapping[Cancellation, str] = {
    "removed": "removed, it is never started",
    "requested": "requested, it is in hand and does not come again",
    "finished": "it has finished before",
    "unknown": "no such message",
}


def add_cancel(subcommands: Subcommands) -> None:
    """Declare `cancel`."""
    parser = declared(subcommands, "cancel", cancel, CANCEL)
    add_json(parser, "an object: message_id, cancelled (removed, requested, finished, unknown)")


def cancel(options: argparse.Namespace) -> int:
    """Cancel it, and say what that did."""
    with located(options, options.queue) as place, place.connect() as client:
        place.must_exist(client)
        with given_by(message_id="ID"):
            answer = place.queue(client).cancel(options.id)
    told = {"message_id": options.id, "cancelled": answer}
    print(json.dumps(told) if options.json else f"{options.id}: {ANSWERS[answer]}")
    return 0 if answer in ("removed", "requested") else NOT_DONE
