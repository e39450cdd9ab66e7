"""Objects of the API server as they are kept: thousands of them say nearly the same."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, Any] = MappingProxyType({})
MOST_PARTS = 2048
"""Parts that are known again: what all say is met all the time, and what one alone says soon falls out."""

Part = dict[str, Any] | list[Any]


def compact(obj: dict[str, Any], before: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """An object to keep: who manages which field is read by nobody, and what all say is kept once.

    What its fields, and those of its metadata, hold may be part of other objects, too: it is never changed.
    `before` is the version that is kept already: most parts are as they were there.
    """
    metadata = {name: part for name, part in obj["metadata"].items() if name != "managedFields"}
    kept = _with_kept_parts({**obj, "metadata": {}}, before)
    return kept | {"metadata": _with_kept_parts(metadata, before.get("metadata") or _NOTHING)}


def _with_kept_parts(fields: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {shared(name): _kept(part, before.get(name)) for name, part in fields.items()}


def _kept(value: Any, before: Any = None) -> Any:
    """The same: each answer of the server has texts, maps and lists of its own."""
    kind = type(value)
    if before is not None and kind is type(before) and value == before:
        return before
    if kind is str:
        return shared(value)
    if kind is dict:
        fields = _with_kept_parts(value, _NOTHING if before is None or kind is not type(before) else before)
        return _first_like(fields, (*fields, *map(_known_by, fields.values())))
    if kind is list:
        items = [_kept(part) for part in value]
        return _first_like(items, (None, *map(_known_by, items)))
    return value


def _known_by(part: Any) -> object:
    """What equal parts have in common: of those that were met before it is the very object."""
    kind = type(part)
    if kind is str:
        return part
    return (id(part),) if kind is dict or kind is list else (kind, part)


_first: OrderedDict[tuple[object, ...], Part] = OrderedDict()
"""Each keeps what it is made of, so no identity in its key is ever that of something else."""


def _first_like(part: Part, key: tuple[object, ...]) -> Part:
    """The equal one that came first, of those that were met lately."""
    if (known := _first.get(key)) is not None:
        _first.move_to_end(key)
        return known
    _first[key] = part
    if len(_first) > MOST_PARTS:
        _first.popitem(last=False)
    return part


@lru_cache(maxsize=8192)
def shared(text: str) -> str:
    """The equal text that came first. `sys.intern` would keep it for ever on some versions of Python 3.12."""
    return text
