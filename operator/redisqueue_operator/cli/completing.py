"""What may follow on a command line, read off the very parser that reads it. The protocol is cobra's.

`redisqueue __complete WORD … LAST` prints candidates for the last word, one a line with a tab and what it is,
and at the end `:0` where files may stand there, else `:4`. kubectl asks a plugin so, too. A server is asked
only where the word to come is a name that it knows, for a moment, and one that does not answer says nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.options import DEFAULT_URL, URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FILES, NO_FILES = ":0", ":4"
MOMENT_SECONDS = 1.5
FEW_KEYS = 10_000
"""Queues are found by their keys: a database with more is not searched for a word."""
MOST_CHARACTERS = 70
Candidate = tuple[str, str]
_Subcommands = argparse._SubParsersAction  # noqa: SLF001 - it has no public name


@dataclass
class CommandLine:
    """What was typed so far: the parser that reads on, and what was given."""

    parser: argparse.ArgumentParser
    given: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    positionals: int = 0
    expects: argparse.Action | None = None
    only_words: bool = False


def complete(parser: Callable[[str], argparse.ArgumentParser], words: Sequence[str]) -> list[str]:
    """The lines to print for these words, the last of which is to be completed."""
    *before, last = words or [""]
    place = CommandLine(parser(before[0] if before else ""))
    for word in before:
        step(place, word)
    head, candidates = "", []
    action: argparse.Action | None = place.expects
    if action is not None:
        candidates = values(action, place, last)
    elif last.startswith("-") and not place.only_words:
        name, equals, value = last.partition("=")
        action = option(place.parser, name) if equals else None
        if action is None:
            candidates = options(place)
        else:
            head = f"{name}="
            candidates = values(action, place, value)
    else:
        action = positional(place)
        candidates = values(action, place, last)
    shown = [(value, text) for value, text in candidates if value.isprintable()]  # a line each, without a tab
    lines = [f"{head}{value}\t{text}" for value, text in shown if f"{head}{value}".startswith(last)]
    return [*lines, FILES if is_file(action) else NO_FILES]


def step(place: CommandLine, word: str) -> None:
    """Take in one word before the last."""
    if place.expects is not None:
        place.given[place.expects.dest] = word
        place.expects = None if place.expects.nargs in (None, "?", 1) else place.expects
    elif word == "--":
        place.only_words = True
    elif word.startswith("-") and len(word) > 1 and not place.only_words:
        name, equals, value = word.partition("=")
        action = option(place.parser, name)
        if action is None:
            return
        place.used |= set(action.option_strings)
        if equals:
            place.given[action.dest] = value
        elif action.nargs != 0:
            place.expects = action
    else:
        action = positional(place)
        if isinstance(action, _Subcommands):
            place.parser = action.choices.get(word, place.parser)
            place.positionals = 0
        elif action is not None:
            place.given[action.dest] = word
            place.positionals += action.nargs in (None, "?")


def option(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    """The option of that name."""
    return next((one for one in parser._actions if name in one.option_strings), None)  # noqa: SLF001


def positional(place: CommandLine) -> argparse.Action | None:
    """What the next word is that is no option; None where none may follow."""
    found = [one for one in place.parser._actions if not one.option_strings]  # noqa: SLF001
    return found[place.positionals] if place.positionals < len(found) else None


def options(place: CommandLine) -> list[Candidate]:
    """The options that were not given yet, by their long names."""
    return [
        (one.option_strings[-1], summary(one.help))
        for one in place.parser._actions  # noqa: SLF001
        if one.option_strings
        and (not place.used & set(one.option_strings) or isinstance(one, argparse._AppendAction))  # noqa: SLF001
    ]


def summary(text: str | None) -> str:
    """As much of a help text as has room beside a candidate."""
    line = " ".join((text or "").replace("%%", "%").split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def is_file(action: argparse.Action | None) -> bool:
    """Whether it is the name of a file or folder."""
    return action is not None and (action.type is Path or action.dest == "files")


def values(action: argparse.Action | None, place: CommandLine, begun: str) -> list[Candidate]:
    """What it may be; empty where anything may stand there."""
    if action is None:
        return []
    if isinstance(action, _Subcommands):
        helps = {one.dest: summary(one.help) for one in action._choices_actions}  # noqa: SLF001
        return [(name, helps.get(name, "")) for name in action.choices]
    if action.choices is not None:
        return [(str(one), "") for one in action.choices]
    ask = ASKED.get(action.dest)
    names: Iterable[str] = ()
    if ask is not None:
        with suppress(Exception):  # a word is not worth an error
            names = ask(place, begun)
    return [(name, "") for name in names]


def queues(place: CommandLine, begun: str) -> list[str]:
    """RedisQueues of the cluster where the word begins so, else the queues of a Redis."""
    if begun.startswith(("rq/", "rq")) and "/" in begun:
        return [f"rq/{name}" for name in resources(place, "")]
    return queues_of_redis(place)


def queues_of_redis(place: CommandLine) -> list[str]:
    """Those that are found, where that is cheap."""
    from redis_message_queue.connection import ConnectionSettings  # noqa: PLC0415 - only here
    from redisqueue_operator.cli.address import discover  # noqa: PLC0415

    url = place.given.get("redis_url") or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    settings = ConnectionSettings(url=url, socket_timeout_seconds=MOMENT_SECONDS)
    with settings.connect() as client:
        if int(client.dbsize()) > FEW_KEYS:
            return []
        return [keys.name for keys in discover(client, place.given.get("key_separator") or "::")]


def resources(place: CommandLine, _: str) -> list[str]:
    """The RedisQueues of the namespace."""
    chosen = [f"--{name}={place.given[name]}" for name in ("namespace", "context") if name in place.given]
    found = kubectl("get", "redisqueues", "--output=name", *chosen)
    return [line.partition("/")[2] for line in found]


def names(place: CommandLine, begun: str) -> list[str]:
    """RedisQueues by their names, with the `rq/` that one may have begun with."""
    head = "rq/" if begun.startswith("rq/") else ""
    return [f"{head}{name}" for name in resources(place, "")]


def namespaces(place: CommandLine, _: str) -> list[str]:
    """Of the cluster."""
    chosen = [f"--context={place.given['context']}"] if "context" in place.given else []
    return [line.partition("/")[2] for line in kubectl("get", "namespaces", "--output=name", *chosen)]


def contexts(_: CommandLine, __: str) -> list[str]:
    """Of the kubeconfig: no server is asked."""
    return kubectl("config", "get-contexts", "--output=name")


def kubectl(*words: str) -> list[str]:
    """The lines that it prints within a moment. Raises OSError, SubprocessError."""
    command = ["kubectl", f"--request-timeout={MOMENT_SECONDS}s", *words]
    done = subprocess.run(  # noqa: S603
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * MOMENT_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.split()


ASKED: dict[str, Any] = {
    "queue": queues,
    "queues": queues,
    "name": names,
    "namespace": namespaces,
    "context": contexts,
}
