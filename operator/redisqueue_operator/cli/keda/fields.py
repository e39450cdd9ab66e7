"""Reading an object field by field, so that no field is passed over in silence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
UNKNOWN = "not known here, and left out: look whether the RedisQueue needs it"


class NotConvertible(Exception):
    """There is no RedisQueue for this; the message says what to change."""


@dataclass(frozen=True)
class Note:
    """What a person has to know of one field: it is left out, or means something else, and what to do."""

    object: str
    field: str
    text: str


class Fields:
    """A mapping of which each field is asked for once; `close` notes those that nobody asked for."""

    def __init__(self, value: Any, path: str, of: str, notes: list[Note]) -> None:
        self.path = path
        self._of = of
        self._notes = notes
        self._left: Object = dict(value) if isinstance(value, dict) else {}
        if value is not None and not isinstance(value, dict):
            self._notes.append(Note(of, path, "no mapping, and left out: correct it"))

    def take(self, name: str) -> Any:
        """The value; None where there is none."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        """The value as text; empty where there is none."""
        value = self.take(name)
        return "" if value is None else str(value).strip()

    def flag(self, name: str) -> bool:
        """Whether it says true, as KEDA reads that."""
        return self.text(name).lower() in ("true", "1", "t")

    def number(self, name: str, low: int = 0, high: int = 1_000_000) -> int | None:
        """A whole number, rounded up, between the bounds; None without any. What is changed is noted."""
        value = self.take(name)
        if value is None:
            return None
        try:
            number = math.ceil(float("" if isinstance(value, bool) else value))
        except (TypeError, ValueError, OverflowError):
            self.note(name, f"{value!r} is no number, and left out: correct it")
            return None
        within = min(max(number, low), high)
        if within != number:
            self.note(name, f"{number} is not between {low} and {high}: {within} is taken")
        return within

    def part(self, name: str) -> Fields:
        """The fields of a mapping in it."""
        return Fields(self.take(name), self._at(name), self._of, self._notes)

    def parts(self, name: str) -> list[Fields]:
        """The fields of each mapping of a list in it."""
        found = self.take(name)
        items = found if isinstance(found, list) else []
        if found is not None and items is not found:
            self.note(name, "no list, and left out: correct it")
        return [
            Fields(item, f"{self._at(name)}[{index}]", self._of, self._notes)
            for index, item in enumerate(items)
        ]

    def drop(self, *names: str) -> None:
        """Leave these out without a word: nothing is lost with them."""
        for name in names:
            self.take(name)

    def drop_if(self, **usual: Any) -> None:
        """Leave out those that have the value that they have by default."""
        for name, value in usual.items():
            if name in self._left and self._left[name] == value:
                self.take(name)

    def refuse(self, **advice: str) -> None:
        """Note each of these that is there, with what to do."""
        for name, text in advice.items():
            if self.take(name) is not None:
                self.note(name, text)

    def note(self, name: str, text: str) -> None:
        """Say something of a field."""
        self._notes.append(Note(self._of, self._at(name), text))

    def rest(self) -> Object:
        """All that nobody asked for, to be taken over as it is."""
        left, self._left = self._left, {}
        return left

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def close(self) -> None:
        """Note what is left."""
        for name in self.rest():
            self.note(name, UNKNOWN)


_CONTAINER: Object = {"env": [{}], "envFrom": [{}], "resources": {}}
_POD: Object = {"metadata": {"labels": {}, "annotations": {}}, "spec": {"containers": [_CONTAINER]}}
SHAPE: Object = {
    "metadata": {"labels": {}, "annotations": {}},
    "spec": {"triggers": [{"metadata": {}}], "template": _POD, "secretTargetRef": [{}], "env": [{}]},
}
"""What is a mapping and what a list of mappings, of all kinds that are read."""


def check_shape(value: Any, shape: Any = SHAPE, path: str = "") -> None:
    """Raise NotConvertible naming the first part that is neither missing nor of its shape."""
    if value is None:
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _misshapen(path, "list", value)
        for index, one in enumerate(value):
            if one is None:
                raise NotConvertible(f"{path}[{index}] is empty: fill it in, or leave it out")
            check_shape(one, shape[0], f"{path}[{index}]")
        return
    if not isinstance(value, dict):
        raise _misshapen(path, "mapping", value)
    for name, inner in shape.items():
        check_shape(value.get(name), inner, f"{path}.{name}" if path else name)


def _misshapen(path: str, wanted: str, value: object) -> NotConvertible:
    """Without the value, which may be secret."""
    kinds: dict[type, str] = {dict: "mapping", list: "list", str: "text"}
    said = kinds.get(type(value), type(value).__name__)
    return NotConvertible(f"{path} must be a {wanted}, and is a {said}: correct it")


def pruned(value: Any) -> Any:
    """Without what is None or an empty mapping or list."""
    if isinstance(value, dict):
        kept = {name: pruned(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one not in (None, {}, [])}
    return value
