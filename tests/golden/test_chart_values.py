"""Each value of a chart has its comment, its row in helm/README.md, and its place in the schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.chart_values import schema_at, schema_of, table, values
from tests.support.helm import CHARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.golden.conftest import Written

NAMES = ("redis-queue-operator", "redis-queue-crds")
README = CHARTS / "README.md"


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_values_yaml_says(name: str, written: Written) -> None:
    written(README, f"values of {name}", table(CHARTS / name))


@pytest.mark.parametrize("name", NAMES)
def test_each_value_is_explained(name: str) -> None:
    """A comment above it; one that ends in the middle of a sentence was cut by an empty line."""
    told = {value.path: value.meaning for value in values(CHARTS / name)}
    assert told
    assert [path for path, meaning in told.items() if not re.search(r"[.!)\]]$", meaning)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_knows_each_value_and_no_other(name: str) -> None:
    schema = schema_of(CHARTS / name)
    for value in values(CHARTS / name):
        assert schema_at(schema, value.path)
    paths = {value.path for value in values(CHARTS / name)}
    # `global` is there for charts that have this one as a dependency.
    assert {path for path in leaves(schema) if not covered(path, paths)} == {"global"}


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_value_is_refused_wherever_it_stands(name: str) -> None:
    schema = schema_of(CHARTS / name)
    groups = {"", *(value.path.rpartition(".")[0] for value in values(CHARTS / name))}
    for group in groups:
        part = schema_at(schema, group) if group else schema
        assert part["additionalProperties"] is False, group or "the whole"


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_means_something_cannot_be_emptied(name: str) -> None:
    """Helm takes `ports:` with nothing after it as null, and drops the default: a policy allowed all.

    A map that is null is as good as an empty one, or left to Kubernetes as a whole.
    """
    schema = schema_of(CHARTS / name)
    for value in values(CHARTS / name):
        parts = value.path.split(".")
        matters = value.default not in ("", [], None) and not isinstance(value.default, dict)
        for length in range(1, len(parts) + matters):
            group = schema_at(schema, ".".join(parts[: length - 1])) if length > 1 else schema
            assert parts[length - 1] in group.get("required", ()), ".".join(parts[:length])


def leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        if part.get("properties"):
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def covered(path: str, paths: set[str]) -> bool:
    """Whether that value, or the whole that it belongs to, has a row."""
    parts = path.split(".")
    return any(".".join(parts[:length]) in paths for length in range(1, len(parts) + 1))
