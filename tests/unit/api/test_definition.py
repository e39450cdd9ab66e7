"""What the CRDs promise to everybody who reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

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


SPEC = [
    (path, part)
    for kind in definition.FILES
    for path, part in parts(definition.schema(kind))
    if path.startswith("spec")
]


@pytest.mark.parametrize("kind", definition.FILES)
def test_everything_is_described(kind: str) -> None:
    bare = [
        p for p, part in parts(definition.schema(kind)) if not p.endswith("]") and not part.get("description")
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
        for kind in definition.FILES
        for path, part in parts(definition.schema(kind))
        for rule in part.get("x-kubernetes-validations", [])
    ]
    assert len(rules) >= 20
    for path, rule in rules:
        assert "spec" in rule["message"] or "metadata." in rule["message"], path
        assert len(rule["message"]) < 400, path


def test_rules_at_the_root_are_about_what_cannot_change() -> None:
    """One of these that a stored object breaks refuses every write of its status and its finalizers too."""
    for kind in definition.FILES:
        for rule in definition.schema(kind).get("x-kubernetes-validations", []):
            rest = rule["rule"].replace("self.metadata.name", "").replace("oldSelf.metadata.name", "")
            fields = set(re.findall(r"self\.([A-Za-z.]+)|oldSelf\.([A-Za-z.]+)", rest.replace("has(", "")))
            named = {one or other for one, other in fields}
            assert named <= {"spec.queue.name", "spec.queue.keySeparator"}, (kind, rule["rule"])


def test_no_default_is_out_of_its_own_bounds() -> None:
    for path, part in SPEC:
        if part.get("type") == "integer" and "default" in part:
            assert part["minimum"] <= part["default"] <= part["maximum"], path
