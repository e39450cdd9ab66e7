"""From the payload on the queue to the type that the handler's annotation asks for.

A converter is built once per annotation, when the handler is imported: what JSON can never fill is told
then. Nothing is guessed: a text is no number, and a number is no text.

No library does all of this as promised: msgspec (0.22) knows no union of two classes or of two types that are
text in JSON, no InitVar and no constructor of one's own, and quotes values in its errors; pydantic would be
needed by all.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import functools
import inspect
import itertools
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from redis_message_queue.payload import ENUM_VALUES, TEXT_FORMS, is_pydantic, is_struct
from redisqueue_worker import struct_types
from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.logs import text_of, type_name
from redisqueue_worker.pydantic_types import reader_of

Decode = Callable[[str | bytes], Any]
Convert = Callable[[Any], Any]


def decoder_for(annotation: object) -> Decode:
    """The decoder for a handler's first parameter.

    Args:
        annotation: bytes, str, dict, list, a TypedDict, a dataclass, a type of pydantic's, a Struct of
            msgspec's, or nothing (then str).

    Raises TypeError for any other annotation, and for a field that JSON cannot fill.
    """
    kind: Any = typing.get_origin(annotation) or annotation
    if kind is bytes:
        return lambda payload: payload.encode() if isinstance(payload, str) else payload
    if kind is str or kind is Any:
        return _as_text
    if is_pydantic(kind):
        return reader_of(kind)
    if kind in (dict, list) or is_structure(kind) or is_struct(kind):
        convert = converter_for(annotation)
        return lambda payload: _fitting(convert, parse(payload))
    raise TypeError(
        f"the first parameter is annotated with {annotation!r}; "
        "use str, bytes, dict, list, a TypedDict, a dataclass, a pydantic model or a msgspec Struct"
    )


def parse(payload: str | bytes) -> Any:
    """The JSON value of a payload. Raises InvalidPayload."""
    try:
        return json.loads(payload)
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidPayload(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise InvalidPayload("not JSON: nested too deeply") from None
    except ValueError:
        raise InvalidPayload("not JSON: a number is too long") from None


def _as_text(payload: str | bytes) -> str:
    if isinstance(payload, str):
        return payload
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(
            f"not UTF-8 at byte {error.start}; annotate the parameter with bytes to take any"
        ) from None


def _fitting(convert: Convert, value: Any) -> Any:
    try:
        return convert(value)
    except RecursionError:
        raise InvalidPayload("nested too deeply") from None


# ---- what a JSON value becomes ----


def is_structure(kind: Any) -> bool:
    """Whether it is a class with named fields that a JSON object can fill."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))


def converter_for(hint: Any) -> Convert:
    """The converter of a type. Raises TypeError naming the field that JSON cannot fill."""
    return _converter(hint, {})


def _converter(hint: Any, known: dict[Any, Convert]) -> Convert:
    """As `converter_for`; `known` has the classes under way, for those that contain themselves."""
    hint = getattr(hint, "__supertype__", hint)  # NewType
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in _WRAPPERS:
        return _converter(arguments[0], known)
    if kind in (Any, object):
        return lambda value: value
    if kind in (None, types.NoneType):
        return _null
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind in (typing.Union, types.UnionType):
        return _union([_converter(one, known) for one in arguments], _name(hint))
    if kind is typing.Literal:
        return _literal(arguments)
    if kind in (list, tuple, set, frozenset, Sequence):
        return _items(kind, arguments, known)
    if kind in (dict, Mapping):
        return _mapping(arguments, known)
    return _class(kind, known)


_WRAPPERS = (typing.Annotated, typing.Required, typing.NotRequired, typing.Final)


def _class(kind: Any, known: dict[Any, Convert]) -> Convert:
    if kind in known:

        def later(value: Any) -> Any:
            return known[kind](value)

        return later
    if is_pydantic(kind):
        return _pydantic(kind)
    if is_struct(kind):
        return struct_types.reader_of(kind)
    if is_structure(kind):
        known[kind] = _structure(kind, known)
        return known[kind]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enum(kind)
    raise TypeError(f"JSON cannot fill {_name(kind)}; use Any and convert it yourself")


# ---- single values ---------------------------------------------------------------------


def _exactly(wanted: type, accepted: tuple[type, ...]) -> Convert:
    """A plain value; bool is an int to Python, and is none here."""

    def convert(value: Any) -> Any:
        if type(value) not in accepted:
            raise InvalidPayload.of(value, _name(wanted))
        return value

    return convert


def _parsed(parse: Callable[[Any], Any], wanted: type, accepted: tuple[type, ...]) -> Convert:
    """A value of another type, from its usual form in JSON."""

    def convert(value: Any) -> Any:
        if type(value) not in accepted:
            raise InvalidPayload.of(value, _name(wanted))
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            raise InvalidPayload(f"no valid {_name(wanted)}") from None

    return convert


def _null(value: Any) -> None:
    if value is not None:
        raise InvalidPayload.of(value, "null")


_SCALARS: dict[Any, Convert] = {
    str: _exactly(str, (str,)),
    bool: _exactly(bool, (bool,)),
    int: _exactly(int, (int,)),
    float: _parsed(float, float, (float, int)),
    **{kind: _parsed(form.read, kind, (str,)) for kind, form in TEXT_FORMS.items()},
    decimal.Decimal: _parsed(lambda value: decimal.Decimal(str(value)), decimal.Decimal, (str, int, float)),
}


def _enum(kind: type[enum.Enum]) -> Convert:
    if not any(type(member.value) in ENUM_VALUES for member in kind):
        raise TypeError(f"JSON cannot fill {_name(kind)}: no value of it is a text or a number")
    return _parsed(kind, kind, ENUM_VALUES)


def _literal(choices: tuple[Any, ...]) -> Convert:
    if not any(type(choice) in (str, int, bool, types.NoneType) for choice in choices):
        raise TypeError(f"JSON cannot fill a Literal of {', '.join(map(repr, choices))}")

    def convert(value: Any) -> Any:
        # 1 == True: both type and value have to be those of a choice.
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise InvalidPayload(f"none of {', '.join(map(repr, choices))}")
        return value

    return convert


def _union(converters: list[Convert], wanted: str) -> Convert:
    def convert(value: Any) -> Any:
        misfits = []
        for one in converters:
            try:
                return one(value)
            except InvalidPayload as misfit:
                misfits.append(misfit)
        # Inside the choice that is of the value's kind is where a person has to look.
        telling = [misfit for misfit in misfits if misfit.path or not misfit.wrong_kind]
        raise telling[0] if telling else InvalidPayload.of(value, wanted)

    return convert


# ---- collections -----------------------------------------------------------------------


def _items(kind: Any, arguments: tuple[Any, ...], known: dict[Any, Convert]) -> Convert:
    fixed = kind is tuple and bool(arguments) and arguments[-1] is not Ellipsis
    if fixed:
        converters = [_converter(one, known) for one in arguments]
    else:
        converters = [_converter(arguments[0] if arguments else Any, known)]
    build = list if kind is Sequence else kind
    if kind in (set, frozenset) and arguments and _is_unhashable(arguments[0]):
        raise TypeError(
            f"JSON cannot fill a {_name(kind)} of {_name(arguments[0])}, which has no hash; use a list"
        )

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise InvalidPayload.of(value, f"a {_name(build)}")
        if fixed and len(value) != len(converters):
            raise InvalidPayload(f"a list of {len(value)} where {len(converters)} belong")
        each = converters if fixed else itertools.repeat(converters[0], len(value))
        pairs = zip(each, value, strict=True)
        items = [_placed(one, item, index) for index, (one, item) in enumerate(pairs)]
        try:
            return build(items)
        except TypeError:  # a set of Any
            raise InvalidPayload(f"a {_name(build)} of values without a hash") from None

    return convert


def _is_unhashable(hint: Any) -> bool:
    return getattr(typing.get_origin(hint) or hint, "__hash__", None) is None


def _mapping(arguments: tuple[Any, ...], known: dict[Any, Convert]) -> Convert:
    if arguments and arguments[0] not in (str, Any):
        raise TypeError(f"JSON cannot fill a dict with keys of {_name(arguments[0])}; use dict[str, …]")
    item = _converter(arguments[1] if arguments else Any, known)

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise InvalidPayload.of(value, "a dict")
        # A key of a dict is payload, unlike a field's name: its place is told as any.
        return {name: _placed(item, one, "*") for name, one in value.items()}

    return convert


def _placed(convert: Convert, value: Any, place: str | int) -> Any:
    try:
        return convert(value)
    except InvalidPayload as misfit:
        raise misfit.within(place)  # noqa: B904  (the same one)


# ---- classes ---------------------------------------------------------------------------


def _structure(cls: Any, known: dict[Any, Convert]) -> Convert:
    """A dataclass or TypedDict from an object. What it does not know is left out: producers evolve first."""
    known[cls] = lambda value: value  # replaced when this one is built; see `_class`
    fields = list(_typed_dict_fields(cls) if typing.is_typeddict(cls) else _arguments(cls))
    required = {field.name for field in fields if field.required}
    converters = {field.name: _field_converter(cls, field, known) for field in fields}

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise InvalidPayload.of(value, _name(cls))
        arguments = {}
        for name, one in converters.items():
            if name in value:
                arguments[name] = _placed(one, value[name], name)
            elif name in required:
                raise InvalidPayload("is missing", name)
        try:
            return cls(**arguments)
        except (TypeError, ValueError) as error:
            raise InvalidPayload(f"{cls.__name__} refused the fields ({type(error).__name__})") from None

    return convert


class _Field(typing.NamedTuple):
    name: str
    hint: Callable[[], Any]  # raises whatever the text of an annotation does
    required: bool


def _arguments(cls: Any) -> Iterator[_Field]:
    """What a dataclass is made with: its fields, its InitVars, or the arguments of its own `__init__`."""
    if inspect.isabstract(cls):
        raise TypeError(f"JSON cannot fill {_name(cls)}, which is abstract")
    for one in inspect.signature(cls).parameters.values():
        if one.kind is one.POSITIONAL_ONLY:
            raise TypeError(f"JSON cannot fill {_name(cls)}: its argument {one.name} cannot be given by name")
        if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD):
            yield _Field(one.name, functools.partial(_argument_hint, cls, one), one.default is one.empty)


def resolved(annotation: Any, names: dict[str, Any], local: dict[str, Any] | None = None) -> Any:
    """An annotation as a type, whatever its neighbours need. Raises whatever its text does.

    Args:
        names: the names of the module that it stands in.
        local: those of the class that it stands in.
    """
    holder = type("holder", (), {"__annotations__": {"it": annotation}})
    return typing.get_type_hints(holder, names, local)["it"]


def _argument_hint(cls: Any, argument: inspect.Parameter) -> Any:
    """Its type; only this one annotation has to mean something at run time."""
    for owner in cls.__mro__:
        annotations = inspect.get_annotations(owner)
        if argument.name in annotations:
            # The module's names come first, as for `typing`: a field may be called like its type.
            names = dict(vars(owner)), dict(vars(sys.modules.get(owner.__module__, typing)))
            hint = resolved(annotations[argument.name], *names)
            return resolved(hint.type, *names) if isinstance(hint, dataclasses.InitVar) else hint
    if argument.annotation is argument.empty:
        return Any
    return resolved(argument.annotation, getattr(cls.__init__, "__globals__", {}))


def _typed_dict_fields(cls: Any) -> Iterator[_Field]:
    try:
        hints, required = typing.get_type_hints(cls), _required_keys(cls)
    except Exception as error:
        raise TypeError(f"{_name(cls)}: {type_name(error)}: {text_of(error)}") from None
    for name, hint in hints.items():
        yield _Field(name, functools.partial(lambda hint: hint, hint), name in required)


def _required_keys(cls: Any) -> set[str]:
    """The class itself cannot tell where its annotations are text, as with `from __future__`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    marks = {name: typing.get_origin(hint) for name, hint in hints.items()}
    return {
        name
        for name, mark in marks.items()
        if mark is typing.Required or (mark is not typing.NotRequired and name in cls.__required_keys__)
    }


def _field_converter(cls: Any, field: _Field, known: dict[Any, Convert]) -> Convert:
    try:
        return _converter(field.hint(), known)
    except TypeError as error:
        raise TypeError(f"field {field.name} of {cls.__name__}: {error}") from None
    except Exception as error:  # a name that only type checkers know, say
        what = f"{type_name(error)}: {text_of(error)}"
        raise TypeError(f"field {field.name} of {cls.__name__}: {what}; it is needed at run time") from None


def _pydantic(kind: Any) -> Convert:
    """By its text: pydantic takes more from JSON than from Python, such as a strict model's datetime."""
    read = reader_of(kind)
    return lambda value: read(json.dumps(value))


def _name(hint: Any) -> str:
    if hint is types.NoneType:
        return "null"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_name, typing.get_args(hint)))
    return getattr(hint, "__name__", None) or str(hint)
