"""`redisqueue dlq`: dead letters (or failed messages): list, show, redrive, delete, purge.

Letters are named by their message ids, which workers record of the last 1000.
Exit code 3: one that was named is not there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.address import located
from redisqueue_operator.cli.options import (
    NOT_DONE,
    QUEUE_HELP,
    UserError,
    add_json,
    add_place,
    as_json,
    count,
    known,
    spelled,
)
from redisqueue_operator.cli.screen import one_line, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from redis_message_queue import Letter, RedisMessageQueue
    from redisqueue_operator.cli.options import Subcommands

PAGE = 100
CUT = 60
LETTER = "payload (payload_hex where it is no text), message_id, reason, deliveries, at, worker, traceback"


def add_to(subcommands: Subcommands) -> None:
    """Declare the command and what it does."""
    parser = subcommands.add_parser("dlq", description=__doc__)
    actions = parser.add_subparsers(title="what to do", metavar="ACTION", required=True)
    one = declare(actions, "list", run_list, "newest first", f"a list of objects: {LETTER}")
    one.add_argument("--count", type=count, default=20, metavar="N", help="at most so many (default: 20)")
    one = declare(actions, "show", run_show, "all that is known of one", f"an object: {LETTER}")
    one.add_argument("id", metavar="ID")
    one = declare(
        actions, "redrive", run_redrive, "back to pending", "an object: redriven, by id its new one; missing"
    )
    one.add_argument("ids", nargs="+", metavar="ID")
    one = declare(actions, "delete", run_delete, "remove for good", "an object: deleted, missing")
    one.add_argument("ids", nargs="+", metavar="ID")
    one = declare(
        actions, "purge", run_purge, "remove them all for good", "an object: purged, how many there were"
    )
    one.add_argument("--yes", action="store_true", help="really; without it they are only counted")


def declare(
    actions: Subcommands,
    name: str,
    run: Callable[[argparse.Namespace, RedisMessageQueue], int],
    help_: str,
    shape: str,
) -> argparse.ArgumentParser:
    """One action."""
    parser = actions.add_parser(name, help=help_, description=f"{name} dead letters: {help_}")
    parser.add_argument("queue", metavar="QUEUE", help=QUEUE_HELP)
    parser.add_argument("--failed", action="store_true", help="failed messages in place of dead letters")
    add_json(parser, shape)
    add_place(parser)

    def at_its_queue(options: argparse.Namespace) -> int:
        with located(options, options.queue) as place, place.connect() as client:
            place.must_exist(client)
            return run(options, place.queue(client))

    parser.set_defaults(run=at_its_queue)
    if name in ("redrive", "delete"):
        parser.set_defaults(words="ids")
    return parser


def run_list(options: argparse.Namespace, queue: RedisMessageQueue) -> int:
    """The newest, one a line."""
    found = []
    for letter in letters_of(options, queue):
        found.append(letter)
        if len(found) == options.count:
            break
    if options.json:
        print(as_json(found))
    elif not found:
        print(f"no {kind(options)}s")
    else:
        rows = [
            [
                spelled(one.at or "-"),
                one.message_id or "-",
                one.reason or "-",
                one.deliveries or "-",
                cut(one.payload),
            ]
            for one in found
        ]
        print(*table(["AT", "ID", "REASON", "DELIVERIES", "PAYLOAD"], rows), sep="\n")
    return 0


def run_show(options: argparse.Namespace, queue: RedisMessageQueue) -> int:
    """One of them, whole."""
    for letter in letters_of(options, queue):
        if letter.message_id == options.id:
            print(as_json(letter) if options.json else "\n".join(told(letter)))
            return 0
    return missing(options, {options.id})


def run_redrive(options: argparse.Namespace, queue: RedisMessageQueue) -> int:
    """Those that are named, to pending."""
    moved = queue.redrive_letters(options.ids, source=source(options))
    left = {*options.ids} - moved.keys()
    if options.json:
        print(as_json({"redriven": moved, "missing": sorted(left)}))
    else:
        for one, new in moved.items():
            print(f"{one} is pending again as {new}")
    return missing(options, left)


def run_delete(options: argparse.Namespace, queue: RedisMessageQueue) -> int:
    """Those that are named, for good."""
    gone = queue.delete_letters(options.ids, source=source(options))
    left = {*options.ids} - {*gone}
    if options.json:
        print(as_json({"deleted": sorted(gone), "missing": sorted(left)}))
    else:
        for one in gone:
            print(f"{one} is deleted")
    return missing(options, left)


def run_purge(options: argparse.Namespace, queue: RedisMessageQueue) -> int:
    """All of them, for good. Raises UserError unless that is confirmed."""
    if not options.yes:
        stats = queue.stats()
        number = stats.failed if options.failed else stats.dead_letter
        raise UserError(f"--yes: it would remove {number} {kind(options)}s for good")
    number = queue.purge(target=source(options))
    print(as_json({"purged": number}) if options.json else f"{number} {kind(options)}s are removed")
    return 0


def letters_of(options: argparse.Namespace, queue: RedisMessageQueue) -> Iterator[Letter]:
    """All of them, newest first, read as they are asked for."""
    read, start = queue.failed if options.failed else queue.dead_letters, 0
    while page := read(PAGE, start=start):
        yield from page
        start += len(page)


def source(options: argparse.Namespace) -> Any:
    """What the library calls them."""
    return "failed" if options.failed else "dead_letter"


def kind(options: argparse.Namespace) -> str:
    """What a person calls one."""
    return "failed message" if options.failed else "dead letter"


def missing(options: argparse.Namespace, ids: set[str]) -> int:
    """Say which are not there; the exit code."""
    for one in sorted(ids):
        print(f"redisqueue: no {kind(options)} is recorded as {one}", file=sys.stderr)
    return NOT_DONE if ids else 0


def cut(payload: str | bytes) -> str:
    """As much of a payload as a line has room for."""
    text = one_line(payload[: CUT + 1])
    return text if len(text) <= CUT else f"{text[: CUT - 1]}…"


def told(letter: Letter) -> list[str]:
    """Lines for a person: what is known, then the payload."""
    names = ("message_id", "reason", "deliveries", "at", "worker", "traceback")
    return [*known(letter, *names), one_line(letter.payload)]
