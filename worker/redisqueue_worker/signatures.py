"""How a function wants to be called, and whether what it returned shows that its work is done."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import subprocess
import sys
import threading
import types
import typing
from collections.abc import Awaitable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis_message_queue._callbacks import is_async_callable
from redisqueue_worker.context import Context
from redisqueue_worker.logs import text_of, type_name
from redisqueue_worker.payload import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CallStyle(NamedTuple):
    """How a function is to be called.

    Attributes:
        annotation: what its first parameter is annotated with, resolved; `str` without an annotation.
        wraps_async: it is a plain function around an async one, and may hand out its coroutine.
    """

    annotation: Any
    takes_context: bool
    is_async: bool
    wraps_async: bool


def call_style_of(function: Any) -> CallStyle:
    """How `function` is to be called. Raises TypeError when it cannot take a message, with the reason."""
    if problem := runs_nothing(function):
        raise TypeError(problem)
    layers = list(_layers(function))
    if not layers:
        raise TypeError("it has a signature that cannot be read; wrap it in a function with (payload)")
    # A layer that takes any arguments passes them on: the next one decides.
    telling = next((layer for layer in layers if not _takes_any(layer.signature)), layers[-1])
    takes_context = _takes_context(telling)
    try:
        layers[0].signature.bind(*[None] * (1 + takes_context))
    except TypeError:
        raise _wrong(layers[0].signature) from None
    is_async = is_async_callable(without_partial(function))
    return CallStyle(
        _first_annotation(telling),
        takes_context,
        is_async,
        wraps_async=not is_async and any(is_async_callable(layer.function) for layer in layers),
    )


def runs_nothing(function: Any) -> str | None:
    """Why a call of it would run nothing; None when it would."""
    called = _innermost_call(function)
    if _makes_a_context_manager(called):
        return "it makes a context manager and runs nothing; remove @contextmanager and 'yield'"
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        return "it has a 'yield': calling it makes a generator and runs nothing; remove the 'yield'"
    return None


class _Layer(NamedTuple):
    function: Any
    signature: inspect.Signature


def _layers(function: Any) -> Iterator[_Layer]:
    """The function and what its wrappers wrap, from the outside in."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        with contextlib.suppress(TypeError, ValueError):  # written in C, say; what it wraps may tell
            yield _Layer(function, inspect.signature(function, follow_wrapped=False))
        function = _beneath(function)


def _beneath(function: Any) -> Any:
    """What `function` wraps, bound as it is itself; None when it wraps nothing."""
    if isinstance(function, functools.partial):
        inner = _beneath(function.func)
        return inner and functools.partial(inner, *function.args, **function.keywords)
    if isinstance(function, types.MethodType):
        inner = _beneath(function.__func__)
        return inner and types.MethodType(inner, function.__self__)
    inner = getattr(function, "__wrapped__", None)
    if inner is None and isinstance(call := getattr(function, "__call__", None), types.MethodType):  # noqa: B004
        return _beneath(call)
    return inner if callable(inner) else None


def without_partial(function: Any) -> Any:
    """What a `functools.partial` will call; any other function as it is."""
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _innermost_call(function: Any) -> Any:
    """The function, or the method `__call__` of an object."""
    function = without_partial(function)
    return function if inspect.isroutine(function) else type(function).__call__


def _makes_a_context_manager(function: Any) -> bool:
    """Whether `contextmanager` or its async sibling of contextlib made it."""
    return getattr(function, "__globals__", None) is vars(contextlib) and hasattr(function, "__wrapped__")


def _takes_any(signature: inspect.Signature) -> bool:
    return any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values())


def _takes_context(layer: _Layer) -> bool:
    parameters = layer.signature.parameters.values()
    required = [one for one in parameters if one.default is one.empty and not one.kind.name.startswith("VAR")]
    positional = [one for one in parameters if one.kind in _POSITIONAL]
    if (
        not (positional or _takes_any(layer.signature))
        or len(required) > 2
        or any(one.kind is one.KEYWORD_ONLY for one in required)
    ):
        raise _wrong(layer.signature)
    if len(positional) < 2:
        return False
    second = positional[1]
    return second in required or second.name == "context" or _is_context(layer, second.annotation)


def _wrong(signature: inspect.Signature) -> TypeError:
    return TypeError(f"it has the signature {signature}; it must take (payload) or (payload, context)")


def _is_context(layer: _Layer, annotation: Any) -> bool:
    try:
        hint = resolved(annotation, _scope(layer.function))
    except Exception:  # known to type checkers alone, as under TYPE_CHECKING; its words are enough here
        return bool({"Context", "BatchContext"} & {*re.findall(r"\w+", str(annotation))})
    kinds = (hint, *typing.get_args(hint))
    return any(isinstance(kind, type) and issubclass(kind, Context) for kind in kinds)


def _first_annotation(layer: _Layer) -> Any:
    first = next(iter(layer.signature.parameters.values()))
    if first.annotation is first.empty:
        return str
    try:
        return resolved(first.annotation, _scope(layer.function))
    except Exception as error:
        raise TypeError(
            f"cannot read its signature: {type_name(error)}: {text_of(error)}; the type of the payload is "
            "needed at run time: import it outside of 'if TYPE_CHECKING'"
        ) from error


def _scope(function: Any) -> dict[str, Any]:
    """The names that its annotations were written with; a wrapper has those of what it wraps."""
    plain = inspect.unwrap(_innermost_call(function))
    return getattr(getattr(plain, "__func__", plain), "__globals__", {})


T = TypeVar("T")

PLAIN = frozenset((types.NoneType, bool, int, float, str, bytes, dict))
"""What holds no work that is left to do."""
_SERIES = (list, tuple)
_MOST_OF_SERIES = 1000
_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
_MANAGERS = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)  # noqa: SLF001


class NotDone(Exception):
    """The handler returned something that has yet to be run, waited for or raised."""


def finished(result: T, who: str = "the handler") -> T:
    """`result`, if the work is done. Raises NotDone if somebody would have to go on with it."""
    if type(result) not in PLAIN and (problem := _problem(result)):
        raise NotDone(f"{who} returned {problem}")
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
    if inspect.isgenerator(result) or inspect.isasyncgen(result) or _is_lazy(result):
        return f"a {type_name(result)} that nobody iterates over; do the work before returning"
    if isinstance(result, BaseException) or (isinstance(result, type) and issubclass(result, BaseException)):
        return f"{type_name(result) if isinstance(result, BaseException) else result.__name__}; raise it"
    if _runs(result) or _may_be_under_way(result):
        return f"a {type_name(result)} that nobody waits for; wait for it before returning"
    return None


def _is_lazy(result: Any) -> bool:
    """Whether it calls or goes through something only as somebody goes through it."""
    return isinstance(result, (map, filter, zip, enumerate)) or type(result).__module__ == "itertools"


def _is_open(one: Any) -> bool:
    return inspect.iscoroutine(one) or (_is_future(one) and not one.done())


def _runs(result: Any) -> bool:
    """Threads and processes that have not ended, or not begun."""
    if isinstance(result, subprocess.Popen):
        return result.poll() is None
    processes = sys.modules.get("multiprocessing.process")
    kinds = (threading.Thread, processes.BaseProcess) if processes else threading.Thread
    return isinstance(result, kinds) and (result.ident is None or result.is_alive())


def _is_future(result: Any) -> bool:
    return hasattr(type(result), "add_done_callback")


def _may_be_under_way(result: Any) -> bool:
    """Futures of all kinds, also of other libraries."""
    is_future = _is_future(result)
    if is_future and hasattr(type(result), "cancel"):
        result.cancel()  # the message comes again
    pools = sys.modules.get("multiprocessing.pool")
    return (
        is_future
        or isinstance(result, Awaitable)
        or bool(pools and isinstance(result, (pools.ApplyResult, pools.IMapIterator)))
    )
