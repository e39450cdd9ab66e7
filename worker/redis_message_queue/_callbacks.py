"""Calling what the user gave us: nothing a callback does may undo what Redis has committed."""

from __future__ import annotations

import inspect
import logging
import threading
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_origin

from redis_message_queue._local_state import ForgottenAtFork

logger = logging.getLogger(__name__)


class _Filter(ForgottenAtFork):
    """The warnings filter belongs to the process; re-entrant because a signal handler may warn as well."""

    def forget(self) -> None:
        self.lock = threading.RLock()


_filter = _Filter()


def warn(text: str) -> None:
    """Issue a RuntimeWarning that no filter can turn into an exception."""
    with _filter.lock, warnings.catch_warnings():
        warnings.simplefilter("always", RuntimeWarning)
        try:
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        except Exception:
            logger.exception("Could not show the warning: %s", text)


def _call_method(instance: object) -> object:
    return getattr(type(instance), "__call__", None)  # noqa: B004 - the function itself is wanted


def is_async_callable(function: object) -> bool:
    """True for a coroutine function, a partial of one, or an object with an async `__call__`."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_call_method(function))


def promises_awaitable(function: Callable[..., object]) -> bool:
    """True unless `function` is plainly synchronous: a function whose result is not declared awaitable."""
    if is_async_callable(function):
        return True
    target = function if inspect.isroutine(function) else _call_method(function)
    declared = getattr(target, "__annotations__", {}).get("return")
    if isinstance(declared, str):
        return declared.partition("[")[0].rpartition(".")[2] in ("Awaitable", "Coroutine", "Future", "Task")
    origin = get_origin(declared) or declared
    return isinstance(origin, type) and issubclass(origin, (Awaitable, Coroutine))


def discard_awaitable(value: object) -> str | None:
    """Cancel or close an awaitable nobody will await; return what it was, None if it was none."""
    if not inspect.isawaitable(value):
        return None
    end = getattr(value, "cancel", None) or getattr(value, "close", None)
    try:
        if callable(end):
            end()
    except Exception:
        logger.warning("A %s that nobody awaits could not be ended", type(value).__name__, exc_info=True)
    return "a coroutine" if inspect.iscoroutine(value) else "an awaitable"


class WrongHandlerError(TypeError):
    """A handler of the other flavour: its message is neither done nor failed."""


def call_plain(
    function: Callable[..., object],
    *args: object,
    name: str = "the callback",
    error: type[TypeError] = TypeError,
) -> object:
    """Call a synchronous function. Raises `error` if it answers with an awaitable."""
    result = function(*args)
    kind = discard_awaitable(result)
    if kind:
        raise error(
            f"{name} returned {kind} (it returned an awaitable); use it with the async RedisMessageQueue"
        )
    return result


async def call_awaited(
    function: Callable[..., Any],
    *args: object,
    name: str = "the callback",
    error: type[TypeError] = TypeError,
) -> object:
    """Call an asynchronous function and await it. Raises `error` if there is nothing to await."""
    result = function(*args)
    if not inspect.isawaitable(result):
        raise error(
            f"{name} returned {type(result).__name__}, which cannot be awaited;"
            " use it with the sync RedisMessageQueue"
        )
    return await result


async def call_either(function: Callable[..., Any], *args: object) -> object:
    """Call a callback that may be synchronous or asynchronous."""
    result = function(*args)
    return await result if inspect.isawaitable(result) else result


def report_callback_failure(name: str, error: BaseException) -> None:
    """Log and warn that the callback `name` raised."""
    logger.error("%s callback raised", name, exc_info=error)
    warn(f"{name} callback raised {type(error).__name__}")
