"""What a handler returned: anything is success, except what shows that the work was not done."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Awaitable
from typing import Any, TypeVar

from redisqueue_worker.texts import type_name

T = TypeVar("T")

_PLAIN = (types.NoneType, bool, int, float, str, bytes, dict, list, tuple)


class NotDone(Exception):
    """The handler returned something that has yet to be run, waited for or raised."""


def finished(result: T) -> T:
    """`result`, if the work is done. Raises NotDone if somebody would have to go on with it."""
    if type(result) not in _PLAIN and (problem := _problem(result)):
        raise NotDone(f"the handler returned {problem}")
    return result


def _problem(result: Any) -> str | None:
    if inspect.iscoroutine(result):
        result.close()
        return "a coroutine that nobody awaits; await it, or define it with 'async def'"
    if inspect.isgenerator(result) or inspect.isasyncgen(result) or isinstance(result, (map, filter)):
        return f"a {type_name(result)} that nobody iterates over; do the work before returning"
    if isinstance(result, BaseException) or (isinstance(result, type) and issubclass(result, BaseException)):
        return f"{type_name(result) if isinstance(result, BaseException) else result.__name__}; raise it"
    if _may_be_under_way(result):
        return f"a {type_name(result)} that nobody waits for; wait for it before returning"
    return None


def _may_be_under_way(result: Any) -> bool:
    """Futures of all kinds, also of other libraries."""
    is_future = hasattr(type(result), "add_done_callback")
    if is_future and hasattr(type(result), "cancel"):
        result.cancel()  # the message comes again
    pools = sys.modules.get("multiprocessing.pool")
    return is_future or isinstance(result, Awaitable) or bool(pools and isinstance(result, pools.ApplyResult))
