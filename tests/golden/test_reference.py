"""The reference in crds/README.md says what the CRD says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.redisqueue_cases import SAMPLES

from redisqueue_operator.api import definition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.golden.conftest import Written

README = SAMPLES.parent / "README.md"
# What these hold is Kubernetes' own, and said there.
PASSED_ON = ("worker.template", "worker.env", "worker.envFrom", "worker.resources", "worker.imagePullSecrets")


def fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(path, schema, required) of each field, depth first."""
    for name, part in schema.get("properties", {}).items():
        path = prefix + name
        yield path, part, name in schema.get("required", ())
        inner = part.get("items", part)
        if path not in PASSED_ON:
            yield from fields(inner, f"{path}[]." if "items" in part else f"{path}.")


def values(part: dict[str, Any]) -> str:
    """What the field takes."""
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "minimum" in part and "maximum" in part:
        return f"{part['minimum']} … {part['maximum']}"
    kind = str(part.get("type", "anything"))
    return {"string": "text", "array": "list", "object": ""}.get(kind, kind)


def field_table(schema: dict[str, Any]) -> str:
    lines = ["| Field | Values | Default | Meaning |", "|---|---|---|---|"]
    for path, part, required in fields(schema["properties"]["spec"]):
        name = f"**`{path}`**" if required else f"`{path}`"
        default = part.get("default")
        shown = "" if default is None or isinstance(default, dict) else f"`{default}`"
        lines.append(f"| {name} | {values(part)} | {shown} | {part['description']} |")
    return "\n".join(lines)


def status_table(schema: dict[str, Any]) -> str:
    lines = ["| Field | Meaning |", "|---|---|"]
    status = schema["properties"]["status"]
    lines += [f"| `{path}` | {part['description']} |" for path, part, _ in fields(status)]
    return "\n".join(lines)


def rule_list(whole: dict[str, Any]) -> str:
    def rules(schema: dict[str, Any]) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for part in (*schema.get("properties", {}).values(), schema.get("items")):
            if isinstance(part, dict):
                yield from rules(part)

    return "\n".join(f"- {message}" for message in rules(whole))


SECTIONS = {"rules": rule_list, "fields": field_table, "status": status_table}


@pytest.mark.parametrize("kind", definition.FILES)
@pytest.mark.parametrize("part", SECTIONS)
def test_reference(kind: str, part: str, written: Written) -> None:
    name, expected = f"{kind} {part}", SECTIONS[part](definition.schema(kind))
    written(README, name, expected)
