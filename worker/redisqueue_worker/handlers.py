"""The user's handlers: how they are registered, imported, and called."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
import traceback
import typing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_worker.exceptions import HandlerError, InvalidPayload, UnknownType
from redisqueue_worker.headers import sparing
from redisqueue_worker.hooks import around
from redisqueue_worker.logs import shown, text_of, type_name
from redisqueue_worker.payload import Decode, decoder_for, parse
from redisqueue_worker.registry import Registry, batch_policy_of, handler
from redisqueue_worker.signals import BY_SIGNALS, forks_end_here
from redisqueue_worker.signatures import PLAIN, call_style_of, finished
from redisqueue_worker.tracing import traced

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from redisqueue_worker.around_hooks import Around
    from redisqueue_worker.batch_handlers import BatchHandler
    from redisqueue_worker.context import Context
    from redisqueue_worker.effective_policy import EffectivePolicy, WorkerLimits
    from redisqueue_worker.handler_policy import HandlerPolicy


class Target(typing.Protocol):
    """What is called with a message."""

    @property
    def is_async(self) -> bool | None:
        """Whether `call` gives a coroutine, all its own work included; None: that depends on the payload."""

    def call(self, payload: str | bytes, context: Context) -> Any:
        """What the function returns: for an async one, a coroutine.

        Raises InvalidPayload, or whatever the handler raises.
        """


class Handler(Target, typing.Protocol):
    """What a worker has for its messages."""

    @property
    def type(self) -> str:
        """The type of the messages that it is for; empty when they are of any, or of several."""

    @property
    def by_type(self) -> Mapping[str, OneHandler]:
        """The functions that there are to choose from; none when there is no choice."""

    def chosen_for(self, payload: str | bytes) -> Handler:
        """The one that such a message is for, itself as long as there is no choice. Raises InvalidPayload."""


class OneHandler(Handler, typing.Protocol):
    """One of those that there are to choose from."""

    @property
    def is_async(self) -> bool:
        """See `Target.is_async`."""

    @property
    def policy(self) -> HandlerPolicy | None:
        """What was said beside its type."""


class FunctionHandler(typing.NamedTuple):
    """A user's function, ready to be called."""

    function: Callable[..., Any]
    decode: Decode
    is_async: bool
    takes_context: bool
    wraps_async: bool = False
    type: str = ""
    policy: HandlerPolicy | None = None

    @property
    def by_type(self) -> Mapping[str, OneHandler]:
        """See `Handler.by_type`."""
        return {}

    def chosen_for(self, payload: str | bytes) -> Handler:  # noqa: ARG002 - there is no choice
        """See `Handler.chosen_for`."""
        return self

    def call(self, payload: str | bytes, context: Context) -> Any:
        """See `Handler.call`."""
        decoded = self.decode(payload)
        result = self.function(decoded, context) if self.takes_context else self.function(decoded)
        if self.is_async:
            return _awaited(result)
        if self.wraps_async and inspect.iscoroutine(result):  # its wrapper did not await it
            result = asyncio.run(result)
        return result if type(result) in PLAIN else finished(result)


async def _awaited(coroutine: Awaitable[Any]) -> Any:
    return finished(await coroutine)


class TypedHandlers(typing.NamedTuple):
    """Several functions; the `type` field of the payload says which one a message is for.

    Or one for all of them, which has no type.
    """

    by_type: Mapping[str, OneHandler]
    type: str = ""

    @property
    def is_async(self) -> bool | None:
        """See `Handler.is_async`."""
        kinds = {one.is_async for one in self.by_type.values()}
        return kinds.pop() if len(kinds) == 1 else None

    def call(self, payload: str | bytes, context: Context) -> Any:
        """See `Handler.call`."""
        return self.chosen_for(payload).call(payload, context)

    def chosen_for(self, payload: str | bytes) -> Handler:
        """See `Handler.chosen_for`."""
        kind = "" if "" in self.by_type else type_of(payload)
        if kind not in self.by_type:
            raise UnknownType(f"unknown type {shown(kind)}; there are {', '.join(self.by_type)}")
        return self.by_type[kind]


def type_of(payload: str | bytes) -> str:
    """The field by which a function is chosen. Raises InvalidPayload."""
    value = parse(payload)
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise InvalidPayload("not a JSON object with a text in its field 'type'")
    return kind


def load(reference: str, search_path: Sequence[Path] = (), hooks: Sequence[str] = ()) -> Handler:
    """Import a handler with the working directory and `search_path` importable.

    Args:
        reference: `module:function`, `module:registry`, or `module` for what it registers with `@handler`.
        hooks: modules with hooks, imported before it.

    Raises HandlerError when that fails or the function cannot take a message.
    """
    _extend_path([Path.cwd(), *search_path])
    module_name, colon, attribute = reference.partition(":")
    if not module_name or (colon and not attribute):
        raise HandlerError(f"{reference!r} is not of the form module:function")
    for name in hooks:
        _imported(name, "REDISQUEUE_HOOKS (--hooks): ")
    module = _imported(module_name)
    target = _attribute(module, attribute, reference) if attribute else _registry_of(module)
    if isinstance(target, Registry) and not target:
        raise HandlerError(
            f"{reference!r} registers no handler; use @handler('type'), or name a function: "
            f"{module_name}:function (it offers {_offered(module)})"
        )
    return handler_of(target, reference)


def _imported(name: str, setting: str = "") -> types.ModuleType:
    try:
        with forks_end_here():
            return importlib.import_module(name)
    except BY_SIGNALS:
        raise
    except BaseException as error:  # a script that ends the process is no module of handlers
        raise HandlerError(f"{setting}{_import_problem(name, error)}") from error


def handler_of(target: object, reference: str) -> Handler:
    """A function or a registry, ready to be called; `reference` is for its errors. Raises HandlerError."""
    if isinstance(target, Registry):
        return traced(_of_types(target, reference))
    if policy := batch_policy_of(target):
        return traced(TypedHandlers({"": _of_many(target, reference, policy, [*around], typed=False)}))
    return traced(_surrounded(inspected(target, reference), [*around], reference))


def own_policies(handler: Handler, settings: WorkerLimits) -> dict[str, EffectivePolicy]:
    """What holds for each type; nothing when no handler says anything: then the worker's settings hold.

    Raises HandlerError for what contradicts the settings.
    """
    if all(one.policy is None for one in handler.by_type.values()):
        return {}
    from redisqueue_worker.effective_policy import policies_of  # noqa: PLC0415  (most say nothing)

    return policies_of(handler.by_type, settings)


def _surrounded(handler: FunctionHandler, hooks: Sequence[Around], reference: str) -> FunctionHandler:
    """With these functions around it, the first of them outermost."""
    if not hooks:
        return handler
    from redisqueue_worker.around_hooks import surrounded  # noqa: PLC0415  (most have none)

    return surrounded(handler, hooks, reference)


def _registry_of(module: object) -> Registry:
    """What `@handler` has registered; else the one registry that the module has of its own."""
    own = {id(value): value for value in vars(module).values() if isinstance(value, Registry)}
    own.pop(id(handler), None)
    return handler if handler or len(own) != 1 else own.popitem()[1]


def _attribute(module: object, path: str, reference: str) -> Any:
    target: Any = module
    for part in path.split("."):
        holder = target
        try:
            target = getattr(holder, part)
        except AttributeError:
            name = reference.partition(":")[0]
            raise HandlerError(
                f"{reference!r}: {name!r} has no {path!r}; it offers {_offered(holder)}"
            ) from None
    if inspect.isclass(holder) and inspect.isfunction(inspect.getattr_static(holder, part)):
        raise HandlerError(
            f"{reference!r} is a method without its object; make one in the module, "
            f"{holder.__name__.lower()} = {holder.__name__}(), and name {holder.__name__.lower()}.{part}"
        )
    return target


def _offered(target: object) -> str:
    names = [
        name for name, value in vars(target).items() if inspect.isroutine(value) and not name.startswith("_")
    ]
    return ", ".join(names) or "no function"


def _of_types(registry: Registry, reference: str) -> TypedHandlers:
    by_type: dict[str, OneHandler] = {}
    hooks = [*around, *registry.around]
    for name, function in registry.items():
        policy = registry.policy_of(name)
        if policy and policy.batching:
            place = f"{reference} @batch_handler({name!r})"
            by_type[name] = replace(_of_many(function, place, policy, hooks), type=name)
        else:
            place = f"{reference} @handler({name!r})"
            one = _surrounded(inspected(function, place, typed=True), hooks, place)
            by_type[name] = one._replace(type=name, policy=policy)
    return TypedHandlers(by_type)


def _of_many(
    function: Any, reference: str, policy: HandlerPolicy, hooks: Sequence[Around], *, typed: bool = True
) -> BatchHandler:
    from redisqueue_worker.batch_handlers import of_many  # noqa: PLC0415  (few have any)

    many = of_many(*_inspected(function, reference, typed=typed, in_list=True))
    return replace(many, function=_surrounded(many.function, hooks, reference), policy=policy)


def inspected(function: Any, reference: str, *, typed: bool = False) -> FunctionHandler:
    """How `function` is to be called; `typed` if it was chosen by the message's type.

    Raises HandlerError when it cannot take a message.
    """
    return _inspected(function, reference, typed=typed)[0]


def _inspected(
    function: Any, reference: str, *, typed: bool, in_list: bool = False
) -> tuple[FunctionHandler, Decode]:
    """The same, and how one message is read; `in_list`: it takes a list of those."""
    if not callable(function) or inspect.isclass(function):
        raise HandlerError(f"{reference!r} is a {type(function).__name__}, not a function")
    try:
        style = call_style_of(function)
        annotation = style.annotation
        if in_list:
            from redisqueue_worker.batch_handlers import item_of  # noqa: PLC0415  (few have any)

            annotation = item_of(annotation)
        decode = sparing(annotation, decoder_for(annotation), typed=typed)
    except TypeError as error:
        raise HandlerError(f"{reference!r}: {error}") from error
    except Exception as error:  # an object's own code
        what = f"{type_name(error)}: {text_of(error)}"
        raise HandlerError(f"{reference!r}: cannot read its signature: {what}") from error
    found = FunctionHandler(function, decode, style.is_async, style.takes_context, style.wraps_async)
    return found, decode


def _extend_path(folders: Sequence[Path]) -> None:
    for folder in reversed(folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def _import_problem(module_name: str, error: BaseException) -> str:
    """Where in the user's own code the import failed, without the frames of the import system."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    place = f" ({os.path.relpath(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    hint = ""
    parent, _, last = module_name.rpartition(".")
    if isinstance(error, ModuleNotFoundError) and parent and error.name == module_name:
        hint = f"; for a function write '{parent}:{last}'"
    if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
        hint = f"; looked in {', '.join(sys.path[:3])} and the installed packages"
    return f"cannot import {module_name!r}: {type_name(error)}: {text_of(error)}{place}{hint}"
