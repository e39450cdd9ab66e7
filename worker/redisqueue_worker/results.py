"""What a handler returned: anything is success, except what shows that the work was not done."""

from __future__ import annotations

import contextlib
import functools
import inspect
import subprocess
import sys
import threading
import types
from collections.abc import Awaitable
from itertools import islice
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from redisqueue_worker.texts import type_name

T = TypeVar("T")

_PLAIN = (types.NoneType, bool, int, float, str, bytes, dict)
_SERIES = (list, tuple)
_MOST_OF_SERIES = 1000
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_MANAGERS = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)  # noqa: SLF001


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
    if type(result) in _SERIES:  # what came of several: a future that is done is fine there
        problems = [_problem(one) for one in islice(result, _MOST_OF_SERIES) if _is_open(one)]
        return f"a {type_name(result)} of {problems[0]}" if problems else None
    if isinstance(result, _MANAGERS):
        return f"a {type_name(result)} that nobody enters; remove the @contextmanager"
    if isinstance(result, _FUNCTIONS):
        return f"a {type_name(result)} that nobody calls; call it, or does a decorator lack its parentheses?"
    if inspect.isgenerator(result) or inspect.isasyncgen(result) or isinstance(result, (map, filter)):
        return f"a {type_name(result)} that nobody iterates over; do the work before returning"
    if isinstance(result, BaseException) or (isinstance(result, type) and issubclass(result, BaseException)):
        return f"{type_name(result) if isinstance(result, BaseException) else result.__name__}; raise it"
    if _runs(result) or _may_be_under_way(result):
        return f"a {type_name(result)} that nobody waits for; wait for it before returning"
    return None


def _is_open(one: Any) -> bool:
    return inspect.iscoroutine(one) or (_is_future(one) and not one.done())


def _runs(result: Any) -> bool:
    """Threads and processes that have not ended, or not begun."""
    if isinstance(result, subprocess.Popen):
        return result.poll() is None
    return isinstance(result, (threading.Thread, BaseProcess)) and (result.ident is None or result.is_alive())


def _is_future(result: Any) -> bool:
    return hasattr(type(result), "add_done_callback")


def _may_be_under_way(result: Any) -> bool:
    """Futures of all kinds, also of other libraries."""
    is_future = _is_future(result)
    if is_future and hasattr(type(result), "cancel"):
        result.cancel()  # the message comes again
    pools = sys.modules.get("multiprocessing.pool")
    return is_future or isinstance(result, Awaitable) or bool(pools and isinstance(result, pools.ApplyResult))
