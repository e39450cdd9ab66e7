"""What the values of a chart are, by the comments of its values.yaml and by its schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Value:
    """A value that has a row of its own in the table."""

    path: str
    default: Any
    meaning: str
    """The comment above it; empty where there is none."""


def values(chart: Path) -> list[Value]:
    """The values of a chart, in their order.

    A mapping counts as one value where nothing in it has a comment; else its parts are values, and its own
    comment is a heading that the table does not need.
    """
    text = (chart / "values.yaml").read_text()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_below(root, text.splitlines(), yaml.safe_load(text), ""))


def _below(node: yaml.MappingNode, lines: list[str], content: Any, prefix: str) -> Iterator[Value]:
    for key, value in node.value:
        path, part = f"{prefix}{key.value}", content[key.value]
        has_parts = isinstance(value, yaml.MappingNode) and not value.flow_style
        if has_parts and any(_comment(lines, inner.start_mark.line) for inner, _ in value.value):
            yield from _below(value, lines, part, f"{path}.")
        else:
            yield Value(path, part, _comment(lines, key.start_mark.line))


def _comment(lines: list[str], line: int) -> str:
    """The comment right above that line."""
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(text.strip().removeprefix("#").strip() for text in lines[first:line])


def schema_of(chart: Path) -> dict[str, Any]:
    """values.schema.json, with its references filled in."""
    schema: dict[str, Any] = json.loads((chart / "values.schema.json").read_text())
    filled: dict[str, Any] = _filled(schema, schema.get("definitions", {}))
    return filled


def _filled(part: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_filled(each, definitions) for each in part]
    if not isinstance(part, dict):
        return part
    if reference := part.get("$ref"):
        return _filled(definitions[reference.removeprefix("#/definitions/")], definitions)
    return {name: _filled(each, definitions) for name, each in part.items() if name != "definitions"}


def schema_at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The part of the schema for the value of that path. Raises KeyError where it knows none."""
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


def kind(schema: dict[str, Any]) -> str:
    """In a word or two what a schema takes."""
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} … {schema['maximum']}"
    told = schema["type"]
    names = {"string": "text", "array": "list", "object": "map", "integer": "number"}
    types = told if isinstance(told, list) else [told]
    return " or ".join(names.get(each, each) for each in types)


def table(chart: Path) -> str:
    """The values as Markdown."""
    schema = schema_of(chart)
    lines = ["| Value | Takes | Default | Meaning |", "|---|---|---|---|"]
    for value in values(chart):
        default = json.dumps(value.default, ensure_ascii=False) if value.default != "" else '""'
        meaning = value.meaning.replace("|", "\\|")
        lines.append(f"| `{value.path}` | {kind(schema_at(schema, value.path))} | `{default}` | {meaning} |")
    return "\n".join(lines)
