"""The settings of `run` and `check` from the words of a command line and the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_worker.setting_values import switch
from redisqueue_worker.settings import OPTIONS, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def settings_of(command: str, words: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """The settings of one start. Raises SettingsError, and SystemExit for `--help` and for unknown words."""
    given = _plain(words)
    if given is None:
        given = _parsed(command, words)
    return read_settings(given, environment)


def _plain(words: Sequence[str]) -> dict[str, str | None] | None:
    """The options, where each word is one with its value (`--queue=jobs`); None where there are others."""
    flags = {option.flag: option.name for option in OPTIONS}
    pairs = [word.partition("=") for word in words]
    if all(equals and flag in flags for flag, equals, _ in pairs):
        return {flags[flag]: value for flag, _, value in pairs}
    return None


def _parsed(command: str, words: Sequence[str]) -> dict[str, str | None]:
    import argparse  # noqa: PLC0415  (it takes long, and a container has no words)

    parser = argparse.ArgumentParser(
        prog=f"redisqueue-worker {command}",
        usage="%(prog)s [HANDLER] [--OPTION VALUE]...",
        description="Each option is also an environment variable: REDISQUEUE_QUEUE for --queue. Options win.",
        allow_abbrev=False,
    )
    parser.add_argument("positional", nargs="?", metavar="HANDLER", help="the same as --handler HANDLER")
    for option in OPTIONS:
        shown = "" if option.default in (None, "", (), False) else f" (default {option.default})"
        parser.add_argument(
            option.flag,
            dest=option.name,
            metavar="VALUE",
            help=(option.help + shown).replace("%", "%%"),
            nargs="?" if option.parse is switch else None,
            const="true" if option.parse is switch else None,
        )
    given = vars(parser.parse_args(words))
    handler = given.pop("positional")
    if handler and given["handler"]:
        parser.error(f"two handlers: {handler!r} and --handler {given['handler']!r}; give one of them")
    return {**given, "handler": handler or given["handler"]}
