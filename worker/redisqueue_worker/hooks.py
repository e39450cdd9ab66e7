"""What a handler's module wants done once in each process: before the first message, and after the last."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from redisqueue_worker.logs import text_of, type_name
from redisqueue_worker.signals import BY_SIGNALS, forks_end_here

if TYPE_CHECKING:
    from contextvars import Context

log = logging.getLogger(__name__)

Hook = Callable[[], object]
RunCoroutine = Callable[[Coroutine[Any, Any, object]], object]
AnyHook = TypeVar("AnyHook", bound=Hook)


class HookError(Exception):
    """A start-up hook failed; the text names it and what it raised."""


class Hooks:
    """The hooks of one process, in the order of their registration."""

    def __init__(self) -> None:
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []

    def on_startup(self, hook: AnyHook) -> AnyHook:
        """Decorator: call `hook()` once before the first message is claimed.

        A hook may be async: it then runs on the event loop that async handlers run on. If it raises,
        the worker claims nothing and leaves with exit code 3.
        """
        self._startup.append(hook)
        return hook

    def on_shutdown(self, hook: AnyHook) -> AnyHook:
        """Decorator: call `hook()` once after the drain, the last registered first.

        All hooks together have 5 s. What one raises is logged and stops nothing. They are not called when
        the process is forced to stop or dies.
        """
        self._shutdown.append(hook)
        return hook

    def start(self, run_coroutine: RunCoroutine, context: Context | None = None) -> None:
        """Call the start-up hooks, in `context` (None: the current one).

        What they set in it is there for each message. `run_coroutine` runs an async one in the same context.

        Raises HookError for the first that fails.
        """
        for hook in self._startup:
            try:
                _call(hook, run_coroutine, context)
            except BY_SIGNALS:
                raise
            except BaseException as error:
                raise HookError(
                    f"the start-up hook {_name(hook)} failed: {type_name(error)}: {text_of(error)}"
                ) from error

    def stop(self, run_coroutine: RunCoroutine, context: Context | None = None) -> None:
        """Call the shut-down hooks in the same way; what they raise is logged."""
        for hook in reversed(self._shutdown):
            try:
                _call(hook, run_coroutine, context)
            except BY_SIGNALS:
                raise
            except BaseException:
                log.exception("the shut-down hook %s failed", _name(hook))


def _call(hook: Hook, run_coroutine: RunCoroutine, context: Context | None) -> None:
    with forks_end_here():
        result = context.run(hook) if context else hook()
    if inspect.iscoroutine(result):
        result = run_coroutine(result)
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError(
            "a generator does nothing; put what comes after its 'yield' into an @on_shutdown hook"
        )


def _name(hook: Hook) -> str:
    return getattr(hook, "__qualname__", None) or repr(hook)


# Decorators need a place before there is any worker: one process runs one worker, so it is the module.
hooks = Hooks()
on_startup = hooks.on_startup
on_shutdown = hooks.on_shutdown
