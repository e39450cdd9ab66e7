"""`redisqueue lint`: the API server's verdict on a file, without an API server."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import doubts, validate
from redisqueue_operator.api.definition import FILES
from redisqueue_operator.cli.options import UserError, add_json
from redisqueue_operator.cli.screen import harmless
from redisqueue_operator.local.definitions import DefinitionError, objects_in, text_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from redisqueue_operator.api import Problem
    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("lint", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="YAML of one or more documents; - is standard input"
    )
    add_json(
        parser,
        "an object: checked (how many of each kind), problems, warnings (file, name, field, message, value)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every problem, one per line; 0 when there is none, 1 otherwise. Warnings change nothing."""
    problems: list[Finding] = []
    warnings: list[Finding] = []
    checked: list[str] = []
    for name in options.files:
        try:
            found = [item for item in objects_in(text_of(name), name) if item.get("kind") in FILES]
        except DefinitionError as error:
            raise UserError(str(error)) from error
        if not found:
            problems.append(Finding(name, None, None, "no RedisQueue in it", None))
        checked += [str(item["kind"]) for item in found]
        for item in found:
            refused = findings(name, item, validate(item))
            problems += refused
            warnings += [] if refused else findings(name, item, doubts(item))
    if options.json:
        kinds = {"problems": problems, "warnings": warnings}
        told = {kind: [dataclasses.asdict(one) for one in each] for kind, each in kinds.items()}
        print(json.dumps({"checked": Counter(checked), **told}, ensure_ascii=False, default=str))
        return 1 if problems else 0
    print(*(f"{one.file}: warning: {one.line}\n" for one in warnings), sep="", end="")
    if problems:
        print(*(f"{one.file}: {one.line}" for one in problems), sep="\n")
    else:
        print(f"{', '.join(counted(checked))}: no problem found")
    return 1 if problems else 0


def counted(kinds: list[str]) -> list[str]:
    """How many of each kind, in words."""
    return [f"{number} {kind}{'s' * (number != 1)}" for kind, number in Counter(kinds).items()]


@dataclass(frozen=True)
class Finding:
    """A problem of one object of a file; of the file itself where there is no name."""

    file: str
    name: str | None
    field: str | None
    message: str
    value: Any

    @property
    def line(self) -> str:
        """For a person, on a terminal: the object's name, the field, what is wrong, the value."""
        places = "".join(f"{one}: " for one in (self.name, self.field) if one is not None)
        value = "" if self.value is None else f" (it is {self.value!r})"
        return harmless(f"{places}{self.message}{value}")


def findings(file: str, item: dict[str, Any], problems: Iterable[Problem]) -> list[Finding]:
    """Problems of an object, with its name."""
    metadata = item.get("metadata")
    name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
    return [Finding(file, str(name), one.field, one.message, one.value) for one in problems]


def problem_lines(item: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """One line per problem of an object; `old`: what it replaces."""
    return [one.line for one in findings("", item, validate(item, old))]
