"""YAML as kubectl reads it.

kubectl's library follows YAML 1.1 with parts of 1.2 and passes the result on as JSON; PyYAML makes another
choice. What a plain `y`, `1e3`, `0o17`, `12:30` or `2026-11-28` is differs, so whether the API server takes
a file. The rules were read off kubectl itself; `tests/unit/api/test_kubectl_yaml.py` asks it again.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where libyaml was built in
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None, "<<": "<<"} | {
    spelling: meaning
    for words, meaning in (("y yes true on", True), ("n no false off", False))
    for word in words.split()
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TAGS = {bool: "bool", type(None): "null", int: "int", float: "float"}
_BASES = {"x": 16, "b": 2, "o": 8}


def load_all(text: str) -> list[Any]:
    """Each document of a YAML stream as JSON values. Raises yaml.YAMLError for what kubectl refuses too."""
    return list(yaml.load_all(text, Loader=_Loader))


def scalar(text: str) -> Any:
    """What a plain scalar is: None, a bool, an int, a float, or the text itself."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    plain = text.replace("_", "") if text[:1] in "+-.0123456789" else ""
    if _INTEGER.fullmatch(plain):
        return _integer(plain)
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        if value in (float("inf"), float("-inf")):  # too large for JSON's numbers: stays text
            return text
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    return text


def _integer(plain: str) -> int:
    sign, digits = (-1 if plain[0] == "-" else 1), plain.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0":
        base = _BASES.get(digits[1].lower(), 8)
        return sign * int(digits[2:] if digits[1].isalpha() else digits, base)
    return sign * int(digits)


class _Loader(_Base):  # type: ignore[misc]
    """A safe loader whose plain scalars are kubectl's, and whose keys are texts, as JSON's are."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        if kind is not yaml.ScalarNode or not implicit[0]:
            resolved: str = super().resolve(kind, value, implicit)
            return resolved
        if value == "<<":
            return "tag:yaml.org,2002:merge"
        if _INFINITE.fullmatch(value or ""):
            return "tag:yaml.org,2002:float"
        return f"tag:yaml.org,2002:{_TAGS.get(type(scalar(value or '')), 'str')}"

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value, deep=deep) for key, value in node.value}

    def _key(self, node: Any) -> str:
        key = self.construct_object(node, deep=True)
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, str | int | float):
            return str(key)
        raise ConstructorError(None, None, f"a key that is {key!r}: write it as text", node.start_mark)


def _plain(loader: Any, node: Any) -> Any:
    if _INFINITE.fullmatch(node.value):
        raise ConstructorError(None, None, f"{node.value} is no JSON value", node.start_mark)
    return scalar(loader.construct_scalar(node))


def _text(loader: Any, node: Any) -> Any:
    return loader.construct_scalar(node)


for _name in ("bool", "null", "int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _plain)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)
