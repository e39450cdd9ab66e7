"""What several commands have in common: mistakes of the user, and the options that say where a queue is."""

from __future__ import annotations

import argparse
import dataclasses
import json
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from redisqueue_operator.cli.screen import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator

# What add_subparsers returns has no public name.
Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
DEFAULT_URL = "redis://127.0.0.1:6379/0"
URL_VARIABLE = "REDISQUEUE_REDIS_URL"
QUEUE_HELP = "the queue's name, or rq/NAME for a RedisQueue of the cluster"


NOT_DONE = 3
"""Exit code: nothing is wrong, and yet what was asked for is not there, or was not done."""


class UserError(Exception):
    """A mistake in the input; the message names it and the way out."""

    exit_code = 1


class UsageError(UserError):
    """Wrong usage: an option with a value that it cannot have, or beside one that excludes it."""

    exit_code = 2


@contextmanager
def given_by(**options: str) -> Iterator[None]:
    """Name the options that gave what the library refuses of its arguments. Raises UsageError."""
    from redis_message_queue.exceptions import ConfigurationError  # noqa: PLC0415 - --help needs no Redis client

    try:
        yield
    except ConfigurationError as error:
        problem, got, value = str(error).partition(", got ")
        named = problem
        for argument, option in options.items():
            named = named.replace(f"'{argument}'", option)
        if named == problem:
            raise
        raise UsageError(f"{named}{got}{value}") from error


def check_texts(options: argparse.Namespace) -> None:
    """Raise UserError for a text that is no UTF-8, which neither Redis nor a terminal is given."""
    for name, value in vars(options).items():
        place = f"argument {name.replace('_', '-')}"
        for number, one in enumerate(value if isinstance(value, list) else [value], start=1):
            if isinstance(one, str):  # a Path is whatever the file is called
                check_text(one, f"{place}, number {number}" if isinstance(value, list) else place)


def check_text(text: str, place: str) -> None:
    """Raise UserError naming the place of a text with bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: its character {error.start + 1} is no UTF-8; see iconv -t UTF-8") from None


def add_place(parser: argparse.ArgumentParser) -> None:
    """Declare where a queue is: --redis-url and --key-separator, -f, --namespace and --context."""
    place = parser.add_argument_group(
        "where the queue is",
        "A name is looked up at --redis-url. rq/NAME is a RedisQueue of the cluster, and -f takes one from a"
        " file: then address, TLS and credentials are those of its spec.redis.",
    )
    place.add_argument(
        "--redis-url",
        metavar="URL",
        help=f"redis:// or rediss:// URL (default: {URL_VARIABLE}, else {DEFAULT_URL});"
        " with a RedisQueue in the place of its own address, as for a port-forward",
    )
    place.add_argument("--key-separator", metavar="TEXT", help="of the keys of a queue by name (default: ::)")
    place.add_argument("-f", "--file", type=Path, metavar="FILE", help="YAML with the RedisQueue")
    place.add_argument("-n", "--namespace", metavar="NAME", help="of rq/NAME (default: the context's)")
    place.add_argument("--context", metavar="NAME", help="of kubectl, for rq/NAME and Secrets")


# More of a queue no server holds.
_MOST = 10**9
_DIGITS = 100  # and leading zeros; Python refuses to read thousands


def count(text: str) -> int:
    """An int above zero, for argparse."""
    number = int(text) if text.isdecimal() and len(text) <= _DIGITS else 0
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0, and at most {_MOST}")
    return number


def rate(text: str) -> float:
    """A number above zero, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def moment(text: str) -> datetime:
    """A time that is the same everywhere, for argparse."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time in ISO 8601, as 2026-01-31T08:00+01:00"
        ) from None
    if at.utcoffset() is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} has no offset from UTC: add it, as in 2026-01-31T08:00+01:00, or Z for UTC"
        )
    return at


def add_json(parser: argparse.ArgumentParser, shape: str) -> None:
    """Declare --json, with what it prints."""
    parser.add_argument("--json", action="store_true", help=f"print JSON: {shape}")


def as_json(value: Any) -> str:
    """One line of JSON for a program: fields by their names, times in ISO 8601, null for the unknown.

    A field is unknown if it is empty and would be so by default: an empty payload is a payload.
    """
    text = json.dumps(_plain(value), ensure_ascii=False)
    # Half of a surrogate pair has no UTF-8: JSON's own escape stands for it.
    return text.encode(errors="backslashreplace").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    found: dict[str, object] = {}
    for field in dataclasses.fields(value):
        one = getattr(value, field.name)
        if isinstance(one, bytes):
            try:
                found[field.name] = one.decode()
            except UnicodeDecodeError:
                found |= {field.name: None, f"{field.name}_hex": one.hex()}
        elif isinstance(one, datetime):
            found[field.name] = spelled(one)
        else:
            found[field.name] = None if one == field.default == "" else one
    return found


def spelled(value: object) -> str:
    """A value for a person; a time to the millisecond."""
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else str(value)


def known(record: object, *names: str) -> list[str]:
    """A line for each of these fields that is known, for a person."""
    facts = ((name.replace("_", " "), getattr(record, name)) for name in names)
    return [f"{name}: {harmless(spelled(value))}" for name, value in facts if value not in (None, "")]
