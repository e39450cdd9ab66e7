"""A RedisQueueRedrive as frozen dataclasses, fields as in its CRD in snake_case; it says what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from redisqueue_operator.api import definition
from redisqueue_operator.api.definition import with_defaults
from redisqueue_operator.api.model import Key, QueueRef
from redisqueue_operator.api.parsing import build
from redisqueue_operator.api.resources import Resource
from redisqueue_operator.observe.cache import key_of

REDRIVES = Resource(definition.GROUP, definition.VERSION, "redisqueueredrives")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchSpec:
    pattern: str | None = None
    field: str | None = None
    equals: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveSpec:
    queue_ref: QueueRef
    from_: Literal["DeadLetter", "Failed"]
    max: int | None = None
    rate_per_second: float | None = None
    match: MatchSpec | None = None
    dry_run: bool
    ttl_seconds_after_finished: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """One resource. `raw` is what it was parsed from."""

    key: Key
    uid: str
    generation: int
    spec: RedriveSpec
    raw: dict[str, Any] = field(repr=False, compare=False)

    @property
    def queue(self) -> Key:
        """Where its RedisQueue is."""
        return Key(self.key.namespace, self.spec.queue_ref.name)

    @property
    def status(self) -> dict[str, Any]:
        """As it was read."""
        return self.raw.get("status") or {}


def parse(obj: dict[str, Any]) -> Redrive:
    """The typed RedisQueueRedrive that an API server has. Raises ValueError, naming the field, for none."""
    metadata = obj["metadata"]
    spec = with_defaults(obj, definition.schema(definition.REDRIVE_KIND)).get("spec")
    return Redrive(
        key=key_of(obj),
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        spec=build(RedriveSpec, spec, "spec"),
        raw=obj,
    )
