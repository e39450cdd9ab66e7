"""JSON values into the types that annotations ask for.

A converter is built once per annotation, when the handler is imported: what JSON can never fill is told
then. Nothing is guessed: a text is no number, and a number is no text.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import itertools
import json
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from redisqueue_worker.logs import text_of, type_name
from redisqueue_worker.pydantic_types import Refused, is_pydantic, reader_of
from redisqueue_worker.signatures import resolved

Convert = Callable[[Any], Any]

_KINDS = {dict: "object", list: "list", str: "str", bool: "bool", int: "int", float: "float"}


class Misfit(Exception):
    """A value does not fit; the text tells where and why, never what the value is."""

    def __init__(self, problem: str, *path: str | int, wrong_kind: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)
        self.wrong_kind = wrong_kind

    @classmethod
    def of(cls, value: object, wanted: str) -> Misfit:
        """`value` is not of the kind that is wanted."""
        return cls(f"a JSON {_kind(value)} where {wanted} belongs", wrong_kind=True)

    def within(self, place: str | int) -> Misfit:
        """The same, seen from the object or list that holds the value."""
        self.path.insert(0, place)
        return self

    def __str__(self) -> str:
        if not self.path:
            return self.problem
        place = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in self.path)
        is_ = "" if self.problem.startswith("is ") else "is "
        return f"field {place.removeprefix('.')} {is_}{self.problem}"


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
            raise Misfit.of(value, _name(wanted))
        return value

    return convert


def _parsed(parse: Callable[[Any], Any], wanted: type, accepted: tuple[type, ...]) -> Convert:
    """A value of another type, from its usual form in JSON."""

    def convert(value: Any) -> Any:
        if type(value) not in accepted:
            raise Misfit.of(value, _name(wanted))
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            raise Misfit(f"no valid {_name(wanted)}") from None

    return convert


def _null(value: Any) -> None:
    if value is not None:
        raise Misfit.of(value, "null")


_SCALARS: dict[Any, Convert] = {
    str: _exactly(str, (str,)),
    bool: _exactly(bool, (bool,)),
    int: _exactly(int, (int,)),
    float: _parsed(float, float, (float, int)),
    decimal.Decimal: _parsed(lambda value: decimal.Decimal(str(value)), decimal.Decimal, (str, int, float)),
    dt.datetime: _parsed(dt.datetime.fromisoformat, dt.datetime, (str,)),
    dt.date: _parsed(dt.date.fromisoformat, dt.date, (str,)),
    dt.time: _parsed(dt.time.fromisoformat, dt.time, (str,)),
    uuid.UUID: _parsed(uuid.UUID, uuid.UUID, (str,)),
}


def _enum(kind: type[enum.Enum]) -> Convert:
    accepted = (str, int, float)
    if not any(type(member.value) in accepted for member in kind):
        raise TypeError(f"JSON cannot fill {_name(kind)}: no value of it is a text or a number")
    return _parsed(kind, kind, accepted)


def _literal(choices: tuple[Any, ...]) -> Convert:
    if not any(type(choice) in (str, int, bool, types.NoneType) for choice in choices):
        raise TypeError(f"JSON cannot fill a Literal of {', '.join(map(repr, choices))}")

    def convert(value: Any) -> Any:
        # 1 == True: both type and value have to be those of a choice.
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise Misfit(f"none of {', '.join(map(repr, choices))}")
        return value

    return convert


def _union(converters: list[Convert], wanted: str) -> Convert:
    def convert(value: Any) -> Any:
        misfits = []
        for one in converters:
            try:
                return one(value)
            except Misfit as misfit:
                misfits.append(misfit)
        # Inside the choice that is of the value's kind is where a person has to look.
        telling = [misfit for misfit in misfits if misfit.path or not misfit.wrong_kind]
        raise telling[0] if telling else Misfit.of(value, wanted)

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
            raise Misfit.of(value, f"a {_name(build)}")
        if fixed and len(value) != len(converters):
            raise Misfit(f"a list of {len(value)} where {len(converters)} belong")
        each = converters if fixed else itertools.repeat(converters[0], len(value))
        pairs = zip(each, value, strict=True)
        items = [_placed(one, item, index) for index, (one, item) in enumerate(pairs)]
        try:
            return build(items)
        except TypeError:  # a set of Any
            raise Misfit(f"a {_name(build)} of values without a hash") from None

    return convert


def _is_unhashable(hint: Any) -> bool:
    return getattr(typing.get_origin(hint) or hint, "__hash__", None) is None


def _mapping(arguments: tuple[Any, ...], known: dict[Any, Convert]) -> Convert:
    if arguments and arguments[0] not in (str, Any):
        raise TypeError(f"JSON cannot fill a dict with keys of {_name(arguments[0])}; use dict[str, …]")
    item = _converter(arguments[1] if arguments else Any, known)

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise Misfit.of(value, "a dict")
        # A key of a dict is payload, unlike a field's name: its place is told as any.
        return {name: _placed(item, one, "*") for name, one in value.items()}

    return convert


def _placed(convert: Convert, value: Any, place: str | int) -> Any:
    try:
        return convert(value)
    except Misfit as misfit:
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
            raise Misfit.of(value, _name(cls))
        arguments = {}
        for name, one in converters.items():
            if name in value:
                arguments[name] = _placed(one, value[name], name)
            elif name in required:
                raise Misfit("is missing", name)
        try:
            return cls(**arguments)
        except (TypeError, ValueError) as error:
            raise Misfit(f"{cls.__name__} refused the fields ({type(error).__name__})") from None

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

    def convert(value: Any) -> Any:
        try:
            return read(json.dumps(value))
        except Refused as error:
            raise Misfit(str(error)) from None

    return convert


def _name(hint: Any) -> str:
    if hint is types.NoneType:
        return "null"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_name, typing.get_args(hint)))
    return getattr(hint, "__name__", None) or str(hint)


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)
