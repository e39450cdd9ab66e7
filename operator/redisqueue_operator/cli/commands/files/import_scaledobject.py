"""`redisqueue import scaledobject`: what KEDA scales, as a RedisQueue.

Reads ScaledObjects with their Deployments and TriggerAuthentications, as `kubectl get -o yaml` prints them,
and prints a RedisQueue for each that counts a list or stream of Redis. Standard error names each field that
is left out or means something else, and what to do. Nothing is sent anywhere; a password that stands in
plain in the trigger is never taken over.

Exit code 1: one of them cannot be converted, or the API server would refuse the result.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import yaml

from redisqueue_operator.api.kubectl_yaml import scalar
from redisqueue_operator.cli.commands.files.lint import problem_lines
from redisqueue_operator.cli.keda import NotConvertible, convert
from redisqueue_operator.cli.options import UserError, add_json
from redisqueue_operator.cli.screen import harmless
from redisqueue_operator.local.definitions import DefinitionError, objects_in, text_of

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.options import Subcommands


def add_to(subcommands: Subcommands) -> None:
    """Declare the command and what it imports."""
    sources = subcommands.add_parser("import", description=__doc__).add_subparsers(
        title="what to import", metavar="KIND", required=True
    )
    parser = sources.add_parser("scaledobject", help="of KEDA", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help="YAML; - is standard input")
    parser.add_argument(
        "--handler",
        default="",
        metavar="MODULE:FUNCTION",
        help="call this for each message, in place of the Deployment's command",
    )
    add_json(parser, "an object: redisqueues, notes (a list of object, field, text)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print them. Raises UserError for what cannot be read or converted."""
    objects = [item for name in options.files for item in read(name)]
    try:
        result = convert(objects, options.handler)
    except NotConvertible as error:
        raise UserError(str(error)) from error
    if not result.queues:
        raise UserError(f"{', '.join(options.files)}: no ScaledObject in it")
    if options.json:
        notes = [dataclasses.asdict(note) for note in result.notes]
        print(json.dumps({"redisqueues": result.queues, "notes": notes}, ensure_ascii=False))
    else:
        print(as_yaml(result.queues), end="")
        told = (harmless(f"{one.object}: {one.field}: {one.text}") for one in result.notes)
        print(*told, sep="\n", file=sys.stderr)
    problems = [line for queue in result.queues for line in problem_lines(queue)]
    if problems:
        raise UserError("\n  ".join(["the API server would refuse the result:", *problems]))
    return 0


def read(name: str) -> list[dict[str, Any]]:
    """The objects of a file. Raises UserError."""
    try:
        return list(objects_in(text_of(name), name))
    except DefinitionError as error:
        raise UserError(str(error)) from error


class Dumper(yaml.SafeDumper):
    """A text that kubectl would read as something else, such as `y` or `1e3`, stands in quotes."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - each occurrence is written out
        """For a person, not for size."""
        return True


def _text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if scalar(text) == text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def as_yaml(objects: list[dict[str, Any]]) -> str:
    """A document for each."""
    text: str = yaml.dump_all(
        objects, Dumper=Dumper, sort_keys=False, allow_unicode=True, explicit_start=len(objects) > 1
    )
    return text
