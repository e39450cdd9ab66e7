"""How a function wants to be called, judged on what is really called: not on what a wrapper says it wraps."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import types
import typing
from contextlib import suppress
from typing import Any, NamedTuple

from redis_message_queue._callbacks import is_async_callable
from redisqueue_worker.context import Context
from redisqueue_worker.hints import resolved
from redisqueue_worker.texts import text_of, type_name

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Manner(NamedTuple):
    """How a function is to be called.

    Attributes:
        annotation: what its first parameter is annotated with, resolved; `str` without an annotation.
        wraps_async: it is a plain function around an async one, and may hand out its coroutine.
    """

    annotation: Any
    takes_context: bool
    is_async: bool
    wraps_async: bool


def manner_of(function: Any) -> Manner:
    """How `function` is to be called. Raises TypeError when it cannot take a message, with the reason."""
    if _makes_a_context_manager(_innermost_call(function)):
        raise TypeError("it makes a context manager and runs nothing; remove @contextmanager and 'yield'")
    if any(
        test(_innermost_call(function)) for test in (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    ):
        raise TypeError("it has a 'yield': calling it makes a generator and runs nothing; remove the 'yield'")
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
    is_async = is_async_callable(_without_partial(function))
    return Manner(
        _first_annotation(telling),
        takes_context,
        is_async,
        wraps_async=not is_async and any(is_async_callable(layer.function) for layer in layers),
    )


class _Layer(NamedTuple):
    function: Any
    signature: inspect.Signature


def _layers(function: Any) -> Iterator[_Layer]:
    """The function and what its wrappers wrap, from the outside in."""
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        with suppress(TypeError, ValueError):  # written in C, say; what it wraps may tell
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


def _without_partial(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _innermost_call(function: Any) -> Any:
    """The function, or the method `__call__` of an object."""
    function = _without_partial(function)
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
        return "Context" in re.findall(r"\w+", str(annotation))
    return Context in (hint, *typing.get_args(hint))


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
