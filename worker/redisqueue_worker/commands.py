"""The sub-commands that need the whole worker: `run` and `check`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

from redis_message_queue.keys import QueueKeys
from redis_message_queue.server import ServerFacts, server_facts
from redis_message_queue.stats import QueueSample, sample
from redis_message_queue.trouble import AWAY, described, first_word
from redisqueue_worker import logs
from redisqueue_worker.context import pool_problem
from redisqueue_worker.executors import slots_for, slots_problem
from redisqueue_worker.handlers import HandlerError, load
from redisqueue_worker.hooks import HookError
from redisqueue_worker.metrics import Metrics, folder_problem
from redisqueue_worker.orphans import end_children_with_me
from redisqueue_worker.restart import ProcessSnapshot, Reloader
from redisqueue_worker.server_check import missing_commands
from redisqueue_worker.settings import (
    OPTIONS,
    Settings,
    SettingsError,
    read_settings,
    switch,
    unknown_variables,
)
from redisqueue_worker.shutdown import leave_within, start_over
from redisqueue_worker.signals import StoppedBeforeStart
from redisqueue_worker.worker import PlatformError, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


log = logging.getLogger(__name__)

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes' own default of `terminationMessagePath`. Kubelet makes it: elsewhere there is none."""
MOST_BYTES = 4096


def leave_last_words(problems: Iterable[str]) -> None:
    """Why a container could not start, where Kubernetes looks for it: the status of its pod quotes it.

    Never an error, also where there is no termination log.
    """
    words = "; ".join(problems).encode(errors="replace")[:MOST_BYTES]
    with contextlib.suppress(OSError):
        file = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)  # it is not made where nobody reads it
        try:
            os.write(file, words)
        finally:
            os.close(file)


EXIT_OK = 0
EXIT_NO_REDIS = 1
EXIT_WRONG = 2
EXIT_HOOK = 3
# Threads that a handler's module started may outlive an orderly exit for this long.
LEFTOVER_SECONDS = 0.2


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """`redisqueue-worker run`; the exit code."""
    try:
        settings = _settings("run", arguments, environment)
    except SettingsError as error:
        return _refuse(error.problems)
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_variables(environment):
        log.warning("unknown variable", extra={"reason": name})
    snapshot = ProcessSnapshot.now()
    end_children_with_me()
    try:
        return _work(settings, snapshot)
    except (HandlerError, HookError) as error:
        code = _cannot_start(error)
    except PlatformError as error:
        code = _refuse([str(error)])
    except StoppedBeforeStart:
        log.info("stopped before the start")
        code = EXIT_OK
    leave_within(LEFTOVER_SECONDS, code)
    return code


def _work(settings: Settings, snapshot: ProcessSnapshot) -> int:
    """Run the worker; with `reload`, wait for better code when it cannot start with this one."""
    if problem := folder_problem(os.environ):
        raise PlatformError(problem)
    if not settings.reload:
        return Worker(settings, Metrics(), snapshot).run()
    # Bytecode is told by size and second of the source: a quick second change could look like the first.
    sys.dont_write_bytecode = True
    reloader = Reloader([Path.cwd(), *settings.handler_path])
    try:
        return Worker(settings, Metrics(), snapshot, reloader).run()
    except (HandlerError, HookError) as error:
        _cannot_start(error)
        reloader.wait()
        start_over(snapshot)


def _cannot_start(error: HandlerError | HookError) -> int:
    """Say why; the exit code."""
    if isinstance(error, HookError):
        log.error("not started", exc_info=error.__cause__)
        _refuse([str(error)])
        return EXIT_HOOK
    log.debug("the handler cannot be used", exc_info=error)
    return _refuse([f"REDISQUEUE_HANDLER (--handler): {error}"])


def _refuse(problems: Sequence[str]) -> int:
    """Complain where people look, and where Kubernetes does; the exit code."""
    leave_last_words(problems)
    return _complain(problems)


def check(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """`redisqueue-worker check`; the exit code. Says everything that is wrong, changes nothing."""
    try:
        settings = _settings("check", arguments, environment)
    except SettingsError as error:
        return _complain(error.problems)
    for name in unknown_variables(environment):
        print(f"warning: {name}")
    problems = [problem] if (problem := folder_problem(environment)) else []
    try:
        handler = load(settings.handler, settings.handler_path)
        if problem := slots_problem(settings.slots, handler):
            problems.append(f"REDISQUEUE_SLOTS (--slots): {problem}")
        else:
            kind = slots_for(handler) if settings.slots == "auto" else settings.slots
            print(f"handler  ok: {settings.handler} ({kind})")
    except HandlerError as error:
        problems.append(f"REDISQUEUE_HANDLER (--handler): {error}")
    unreachable = _check_redis(settings)
    _complain([*problems, *unreachable])
    return EXIT_WRONG if problems else EXIT_NO_REDIS if unreachable else EXIT_OK


def _check_redis(settings: Settings) -> list[str]:
    """What is wrong with Redis; prints what is right."""
    where = settings.connection.redacted
    try:
        client = settings.connection.connect()
        if missing := missing_commands(client):
            return [f"Redis at {where} lacks commands that a worker needs: {', '.join(missing)}"]
        found = sample(client, [QueueKeys(settings.queue, settings.key_separator)])[0]
        facts = server_facts(client)
    except AWAY as error:
        return [f"Redis at {where}: {type(error).__name__}: {described(error)}"]
    if isinstance(found, Exception) and not _may_not_count(found):
        return [f"queue {settings.queue!r} at {where}: {type(found).__name__}: {described(found)}"]
    print(f"redis    ok: {where}")
    if problem := pool_problem(settings):
        print(f"redis    warning: {problem}")
    _print_facts(facts)
    if isinstance(found, QueueSample):
        print(
            f"queue    ok: {settings.queue}: {found.pending} pending, {found.in_flight} in flight, "
            f"{found.dead_letter} dead letters, {len(found.workers)} workers"
        )
    else:
        print(f"queue    unknown: this login may not count what is in {settings.queue}, as a worker need not")
    return []


def _may_not_count(error: Exception) -> bool:
    """Whether this login may run scripts on the queue, and lacks a right that only counting needs."""
    return first_word(error) == "NOPERM" and not isinstance(error, NoPermissionError)


def _print_facts(facts: ServerFacts) -> None:
    """Whether messages are safe there. That is no reason to fail: a worker runs there all the same."""
    for concern in facts.concerns:
        print(f"server   warning: {concern.reason}: {concern.text}")
    if facts.unknown:
        print(f"server   unknown: it does not tell this login {', '.join(facts.unknown)} (INFO, CONFIG GET)")
    if not facts.concerns and not facts.unknown:
        print(f"server   ok: {facts}")


def _settings(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
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
    given = vars(parser.parse_args(arguments))
    handler = given.pop("positional")
    if handler and given["handler"]:
        parser.error(f"two handlers: {handler!r} and --handler {given['handler']!r}; give one of them")
    return read_settings({**given, "handler": handler or given["handler"]}, environment)


def _complain(problems: Sequence[str]) -> int:
    for problem in problems:
        print(f"redisqueue-worker: {problem}", file=sys.stderr)
    return EXIT_WRONG
