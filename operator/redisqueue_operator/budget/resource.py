"""A RedisQueueBudget as frozen dataclasses, fields as in its CRD in snake_case; it says what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import definition
from redisqueue_operator.api.definition import with_defaults
from redisqueue_operator.api.model import Key
from redisqueue_operator.api.parsing import check_shape
from redisqueue_operator.api.resources import Resource
from redisqueue_operator.decide.children.drift import quantity

if TYPE_CHECKING:
    from redisqueue_operator.decide.budget import Limit

BUDGETS = Resource(definition.GROUP, definition.VERSION, "redisqueuebudgets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One resource. `selector` is a label selector as of Kubernetes, `raw` what it was parsed from."""

    key: Key
    generation: int
    created_at: str
    selector: dict[str, Any]
    limit: Limit
    raw: dict[str, Any] = field(repr=False, compare=False)


def parse(obj: dict[str, Any]) -> Budget:
    """The typed RedisQueueBudget that an API server has. Raises ValueError, naming the field, for none."""
    metadata = obj["metadata"]
    schema = definition.schema(definition.BUDGET_KIND)
    spec: dict[str, Any] = with_defaults(obj, schema).get("spec")
    check_shape(spec, schema["properties"]["spec"], "spec")  # as of its selector, which is used as it stands
    return Budget(
        key=Key(metadata.get("namespace") or "default", metadata["name"]),
        generation=metadata.get("generation") or 0,
        created_at=metadata.get("creationTimestamp") or "",
        selector=spec["selector"],
        limit=(
            math.inf if spec.get("maxReplicas") is None else int(spec["maxReplicas"]),
            _amount(spec, "cpu") * 1000,
            _amount(spec, "memory"),
        ),
        raw=obj,
    )


def _amount(spec: dict[str, Any], name: str) -> float:
    if (value := spec.get(name)) is None:
        return math.inf
    if (amount := quantity(str(value))) is None:
        raise ValueError(f"spec.{name}: must be a quantity, as 4, 500m or 8Gi, is {value!r}")
    return float(amount)
