"""`redisqueue publish`: messages from arguments, or one per line of standard input."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import (
    QUEUE_HELP,
    UsageError,
    add_json,
    add_place,
    as_json,
    check_text,
    count,
    given_by,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from redisqueue_operator.cli.options import Subcommands

DEDUPLICATION = {
    "deduplication_key": "--deduplication-key",
    "deduplication_seconds": "--deduplication-seconds",
}


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Declare the queue, and what to put into it."""
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    parser.add_argument(
        "messages", nargs="*", metavar="MESSAGE", help="text of a message; none: lines of standard input"
    )


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("publish", description=__doc__)
    add_messages(parser)
    parser.add_argument(
        "--deduplicate",
        action="store_true",
        help="skip a message that was published with this option in the last hour",
    )
    parser.add_argument(
        "--deduplication-key",
        metavar="TEXT",
        help="skip the message if one was published with this key, whatever it holds; for one message",
    )
    parser.add_argument(
        "--deduplication-seconds",
        type=count,
        metavar="N",
        help="how long a message is remembered, with either of them (default: 3600)",
    )
    add_json(parser, "an object: queue, published, skipped")
    add_place(parser)
    parser.set_defaults(run=run, words="messages")


def run(options: argparse.Namespace) -> int:
    """Publish, and say how many messages the queue took."""
    check(options)
    with located(options, options.queue) as place, place.connect() as client:
        queue = place.queue(client, deduplication=options.deduplicate)
        published = skipped = 0
        remembered = {
            "deduplication_key": options.deduplication_key,
            "deduplication_seconds": options.deduplication_seconds,
        }
        for message in options.messages or lines_of_input():
            with given_by(**DEDUPLICATION):
                new = queue.publish(message, **remembered)
            published += new
            skipped += not new
    name = place.keys.name
    if options.json:
        print(as_json({"queue": name, "published": published, "skipped": skipped}))
    else:
        print(f"published {published} to {name}" + (f", skipped {skipped} duplicates" if skipped else ""))
    return 0


def check(options: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together."""
    if options.deduplication_key is not None and len(options.messages) != 1:
        raise UsageError(
            "--deduplication-key: with one key all messages but the first would be skipped; give one"
        )
    if options.deduplication_key == "":
        raise UsageError("--deduplication-key: it is empty")
    if options.deduplication_seconds and not (options.deduplicate or options.deduplication_key):
        raise UsageError("--deduplication-seconds: needs --deduplicate or --deduplication-key")


def lines_of_input() -> Iterator[str]:
    """Each line of standard input that is not blank, as it arrives. Raises UserError for no UTF-8."""
    if sys.stdin.isatty():
        print("one message per line; end with Ctrl-D", file=sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # told by line, below, and not for the whole block
    for number, raw in enumerate(sys.stdin, start=1):
        if raw.strip():
            line = raw.rstrip("\r\n")
            check_text(line, f"line {number} of standard input (those before it are in the queue)")
            yield line
