"""What a handler's module wants done beside: once in each process, before the first message and after the
last (`on_startup`, `on_shutdown`), and around each call of a handler (`around`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

from redisqueue_worker.logs import text_of, type_name
from redisqueue_worker.signals import BY_SIGNALS, forks_end_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextvars import Context

    from redisqueue_worker.around_hooks import Around, Kinds

log = logging.getLogger(__name__)

Hook = Callable[[], object]
RunCoroutine = Callable[[Coroutine[Any, Any, object]], object]
AnyHook = TypeVar("AnyHook", bound=Hook)
AnyAround = TypeVar("AnyAround", bound=Callable[..., Any])


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
        known = len(around)
        for hook in self._startup:
            try:
                _call(hook, run_coroutine, context)
            except BY_SIGNALS:
                raise
            except BaseException as error:
                raise HookError(
                    f"the start-up hook {_name(hook)} failed: {type_name(error)}: {text_of(error)}"
                ) from error
            if len(around) != known:
                raise HookError(
                    f"the start-up hook {_name(hook)} came too late with an @around hook: register it while "
                    "the module is imported"
                )

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


class AroundHooks:
    """The functions around handlers, the outermost first."""

    def __init__(self) -> None:
        self._hooks: list[Around] = []

    @overload
    def __call__(self, hook: AnyAround, /) -> AnyAround: ...
    @overload
    def __call__(
        self, hook: None = None, /, *, handlers: Kinds = "all"
    ) -> Callable[[AnyAround], AnyAround]: ...
    def __call__(self, hook: Any = None, /, *, handlers: Kinds = "all") -> Any:
        """Decorator: call `hook(call_next, payload, context)` in place of each handler, around it.

        What `call_next(payload)` returns is what the handler does, or the next hook; what it raises, too. In
        an async hook it is awaited. What the hook returns or raises is the outcome: a message whose hook
        never calls it is done. The first that is registered is the outermost.

        Args:
            handlers: those that it is for: "sync" (def), "async" (async def), or "all". The hook has to be
                of the same kind.

        Raises TypeError for what cannot be called so, ValueError for other `handlers`.
        """
        return self._add(hook, handlers) if hook is not None else lambda hook: self._add(hook, handlers)

    def _add(self, hook: AnyAround, handlers: Kinds) -> AnyAround:
        from redisqueue_worker.around_hooks import around_of  # noqa: PLC0415  (most have none)

        self._hooks.append(around_of(hook, handlers))
        return hook

    def __iter__(self) -> Iterator[Around]:
        return iter(self._hooks)

    def __len__(self) -> int:
        return len(self._hooks)


# Decorators need a place before there is any worker: one process runs one worker, so it is the module.
hooks = Hooks()
around = AroundHooks()
on_startup = hooks.on_startup
on_shutdown = hooks.on_shutdown
