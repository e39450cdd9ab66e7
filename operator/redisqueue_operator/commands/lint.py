"""`redisqueue lint`: the API server's verdict on a file, without an API server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import validate
from redisqueue_operator.commands.options import UserError
from redisqueue_operator.local.definitions import DefinitionError, objects_in

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.commands.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("lint", help="check RedisQueue files", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="YAML of one or more documents; - is standard input"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every problem, one per line; 0 when there is none, 1 otherwise."""
    problems: list[str] = []
    checked = 0
    for name in options.files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
            queues = [item for item in objects_in(text, name) if item.get("kind") == "RedisQueue"]
        except (OSError, UnicodeDecodeError, DefinitionError) as error:
            raise UserError(str(error)) from error
        if not queues:
            problems.append(f"{name}: no RedisQueue in it")
        checked += len(queues)
        problems += [f"{name}: {line}" for item in queues for line in problem_lines(item)]
    print(*problems, sep="\n") if problems else print(
        f"{checked} RedisQueue{'s' * (checked != 1)}: no problem found"
    )
    return 1 if problems else 0


def problem_lines(item: dict[str, Any]) -> list[str]:
    """One line per problem of a RedisQueue: its name, the field, what is wrong, the value."""
    metadata = item.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    return [
        f"{name}: {problem.field}: {problem.message}"
        + ("" if problem.value is None else f" (it is {problem.value!r})")
        for problem in validate(item)
    ]
