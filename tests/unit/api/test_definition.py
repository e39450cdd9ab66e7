"""What the CRD promises to everybody who reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import definition

if TYPE_CHECKING:
    from collections.abc import Iterator


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}".removeprefix("."))
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from parts(schema[name], f"{path}[]")


SPEC = [(path, part) for path, part in parts(definition.schema()) if path.startswith("spec")]


def test_everything_is_described() -> None:
    bare = [
        p for p, part in parts(definition.schema()) if not p.endswith("]") and not part.get("description")
    ]
    assert [path for path in bare if path not in ("", "metadata") and "[]" not in path] == []


def test_everything_is_bounded() -> None:
    bounds = {"string": "maxLength", "array": "maxItems", "integer": "maximum"}
    free = [
        path
        for path, part in SPEC
        if (bound := bounds.get(part.get("type", ""))) and bound not in part and "enum" not in part
    ]
    assert free == ["spec.worker.template.spec.terminationGracePeriodSeconds"], "which is refused anyway"


def test_rules_name_the_field_and_the_way_out() -> None:
    rules = [
        (path, rule)
        for path, part in parts(definition.schema())
        for rule in part.get("x-kubernetes-validations", [])
    ]
    assert len(rules) >= 20
    for path, rule in rules:
        assert "spec." in rule["message"] or "metadata." in rule["message"], path
        assert len(rule["message"]) < 400, path


def test_no_default_is_out_of_its_own_bounds() -> None:
    for path, part in SPEC:
        if isinstance(part.get("default"), int):
            assert part["minimum"] <= part["default"] <= part["maximum"], path
