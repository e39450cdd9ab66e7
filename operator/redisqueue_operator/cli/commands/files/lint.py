"""`redisqueue lint`: the API server's verdict on a file, without an API server."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import validate
from redisqueue_operator.api.definition import FILES
from redisqueue_operator.cli.options import UserError
from redisqueue_operator.local.definitions import DefinitionError, objects_in

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("lint", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="YAML of one or more documents; - is standard input"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every problem, one per line; 0 when there is none, 1 otherwise."""
    problems: list[str] = []
    checked: list[str] = []
    for name in options.files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text()
            found = [item for item in objects_in(text, name) if item.get("kind") in FILES]
        except (OSError, UnicodeDecodeError, DefinitionError) as error:
            raise UserError(str(error)) from error
        if not found:
            problems.append(f"{name}: no RedisQueue in it")
        checked += [str(item["kind"]) for item in found]
        problems += [f"{name}: {line}" for item in found for line in problem_lines(item)]
    print(*problems, sep="\n") if problems else print(f"{', '.join(counted(checked))}: no problem found")
    return 1 if problems else 0


def counted(kinds: list[str]) -> list[str]:
    """How many of each kind, in words."""
    return [f"{number} {kind}{'s' * (number != 1)}" for kind, number in Counter(kinds).items()]


def problem_lines(item: dict[str, Any]) -> list[str]:
    """One line per problem of an object: its name, the field, what is wrong, the value."""
    metadata = item.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    return [
        f"{name}: {problem.field}: {problem.message}"
        + ("" if problem.value is None else f" (it is {problem.value!r})")
        for problem in validate(item)
    ]
