"""The sub-command `run`, and how it says what is wrong."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from redisqueue_worker import logs
from redisqueue_worker.arguments import settings_of
from redisqueue_worker.doors import PlatformError
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.hooks import HookError
from redisqueue_worker.identity import leave_instance, leave_last_words
from redisqueue_worker.metrics import Metrics, folder_problem
from redisqueue_worker.restart import ProcessSnapshot, Reloader
from redisqueue_worker.settings import Settings, SettingsError, unknown_variables
from redisqueue_worker.shutdown import leave_within, start_over
from redisqueue_worker.signals import StoppedBeforeStart
from redisqueue_worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_NO_REDIS = 1
EXIT_WRONG = 2
EXIT_HOOK = 3
# Threads that a handler's module started may outlive an orderly exit for this long.
LEFTOVER_SECONDS = 0.2


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """`redisqueue-worker run`; the exit code."""
    try:
        settings = settings_of("run", arguments, environment)
    except SettingsError as error:
        return _refuse(error.problems)
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_variables(environment):
        log.warning("unknown variable", extra={"reason": name})
    snapshot = ProcessSnapshot.now()
    leave_instance(settings.instance)
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
    return complain(problems)


def complain(problems: Sequence[str]) -> int:
    """Say each on stderr; the exit code of what is wrong."""
    for problem in problems:
        print(f"redisqueue-worker: {problem}", file=sys.stderr)
    return EXIT_WRONG
