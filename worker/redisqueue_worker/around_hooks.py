"""Functions around handlers: what they may be, and how one is put around a handler.

They stand between a payload that was read and the function that it is for. So they see what the handler is
given, and what it returns or raises, wherever it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from redis_message_queue._callbacks import is_async_callable
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.logs import shown, type_name
from redisqueue_worker.signatures import NotDone, finished, runs_nothing, without_partial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_worker.context import Context
    from redisqueue_worker.handlers import FunctionHandler

Kinds = Literal["all", "sync", "async"]
_WANTED = "it must take (call_next, payload, context)"
_Call = Callable[[Any, "Context"], Any]
_AsyncCall = Callable[[Any, "Context"], Coroutine[Any, Any, Any]]


class CallNext(Protocol):
    """What a hook calls to go on: the next hook, or the handler. In an async hook the result is awaited."""

    def __call__(self, payload: Any, context: Context | None = None) -> Any:
        """What the handler returns. Raises whatever that raises.

        Args:
            payload: what the handler is to be given; nobody reads it anew.
            context: the one that it is to be given (default: the message's own).
        """


@dataclass(frozen=True, slots=True)
class Around:
    """One function around handlers.

    Attributes:
        handlers: which ones it is for.
    """

    function: Callable[..., Any]
    is_async: bool
    handlers: Kinds

    @property
    def name(self) -> str:
        return getattr(self.function, "__qualname__", None) or type_name(self.function)

    def problem_with(self, handler: FunctionHandler) -> str | None:
        """Why it cannot stand around this handler; None when it can."""
        if self.is_async == handler.is_async:
            return None
        ours, theirs = ("async def", "def") if self.is_async else ("def", "async def")
        kind, other = ("async", "sync") if self.is_async else ("sync", "async")
        why = "cannot be awaited there" if self.is_async else "would be over before the handler runs"
        return (
            f"the hook {self.name} has {ours} and the handler has {theirs}: it {why}; "
            f"say @around(handlers={kind!r}) for that one, and write another with {theirs} for the rest, "
            f"@around(handlers={other!r})"
        )

    def finished(self, result: Any) -> Any:
        """What it returned, if its work is done. Raises NotDone."""
        return finished(result, f"the hook {self.name}")


def around_of(hook: Any, handlers: Kinds) -> Around:
    """A function as a hook. Raises TypeError or ValueError for what can be none."""
    if not callable(hook) or inspect.isclass(hook):
        raise TypeError(f"@around: {shown(hook)} is no function; {_WANTED}")
    found = Around(hook, is_async_callable(without_partial(hook)), handlers)
    if handlers not in get_args(Kinds):
        known = ", ".join(get_args(Kinds))
        raise ValueError(f"@around on {found.name}: handlers: {shown(handlers)} must be one of {known}")
    if handlers != "all" and found.is_async != (handlers == "async"):
        wanted = "async def" if handlers == "async" else "def"
        raise TypeError(f"@around on {found.name}: handlers={handlers!r} is for hooks with {wanted}")
    if problem := runs_nothing(hook):
        raise TypeError(f"@around on {found.name}: {problem}")
    try:
        signature = inspect.signature(hook)
    except (TypeError, ValueError):  # written in C, say: the first call will tell
        return found
    try:
        signature.bind(*[None] * 3)
    except TypeError:
        raise TypeError(f"@around on {found.name}: it has the signature {signature}; {_WANTED}") from None
    return found


def surrounded(handler: FunctionHandler, hooks: Sequence[Around], reference: str) -> FunctionHandler:
    """`handler` with those of the hooks around it that are for its kind, the first of them outermost.

    Raises HandlerError for one that is of another kind.
    """
    kind = "async" if handler.is_async else "sync"
    mine = [hook for hook in hooks if hook.handlers in ("all", kind)]
    if problem := next(filter(None, (hook.problem_with(handler) for hook in mine)), None):
        raise HandlerError(f"{reference!r}: {problem}")
    if not mine:
        return handler
    inner = handler._replace(decode=lambda payload: payload)  # by then it has been read
    function: Callable[..., Any] = _all_async(inner, mine) if handler.is_async else _all_sync(inner, mine)
    return handler._replace(function=function, takes_context=True, wraps_async=False)


def _all_sync(handler: FunctionHandler, hooks: Sequence[Around]) -> _Call:
    call: _Call = handler.call
    for hook in reversed(hooks):
        call = _sync(hook, call)
    return call


def _sync(hook: Around, inner: _Call) -> _Call:
    def call(payload: Any, context: Context) -> Any:
        def call_next(payload: Any, other: Context | None = None) -> Any:
            return inner(payload, context if other is None else other)

        return hook.finished(hook.function(call_next, payload, context))

    return call


def _all_async(handler: FunctionHandler, hooks: Sequence[Around]) -> _AsyncCall:
    async def call_handler(payload: Any, context: Context) -> Any:  # begins nothing before it is awaited
        return await handler.call(payload, context)

    call: _AsyncCall = call_handler
    for hook in reversed(hooks):
        call = _async(hook, call)
    return call


def _async(hook: Around, inner: _AsyncCall) -> _AsyncCall:
    async def call(payload: Any, context: Context) -> Any:
        calls: list[Coroutine[Any, Any, Any]] = []

        def call_next(payload: Any, other: Context | None = None) -> Awaitable[Any]:
            calls.append(inner(payload, context if other is None else other))
            return calls[-1]

        try:
            result = await hook.function(call_next, payload, context)
            open_ones = [one for one in calls if inspect.getcoroutinestate(one) != inspect.CORO_CLOSED]
        finally:
            for one in calls:
                if inspect.getcoroutinestate(one) == inspect.CORO_CREATED:
                    one.close()
        if open_ones:
            raise NotDone(f"the hook {hook.name} was over before its handler: await call_next(payload)")
        return hook.finished(result)

    return call
