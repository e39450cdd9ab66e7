"""A RedisQueueSchedule as frozen dataclasses, fields as in its CRD in snake_case; it says what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from redisqueue_operator.api import definition
from redisqueue_operator.api.definition import with_defaults
from redisqueue_operator.api.model import Key, QueueRef, Redis
from redisqueue_operator.api.parsing import build
from redisqueue_operator.api.resources import Resource
from redisqueue_operator.decide.cron import Cron
from redisqueue_operator.decide.due import Timing

SCHEDULES = Resource(definition.GROUP, definition.VERSION, "redisqueueschedules")
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueName:
    name: str
    key_separator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """Exactly one of `queue_ref` and `redis` is set; `queue` is with `redis`. The payload is `raw`'s."""

    schedule: str
    time_zone: str
    jitter_seconds: int
    starting_deadline_seconds: int
    missed_ticks: Literal["Latest", "All"]
    suspend: bool
    queue_ref: QueueRef | None = None
    redis: Redis | None = None
    queue: QueueName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One resource. `raw` is what it was parsed from."""

    key: Key
    uid: str
    generation: int
    created: datetime
    spec: ScheduleSpec
    payload: Any = field(repr=False)
    raw: dict[str, Any] = field(repr=False, compare=False)

    @property
    def queue(self) -> Key | None:
        """Where its RedisQueue is; None with a Redis of its own."""
        ref = self.spec.queue_ref
        return Key(self.key.namespace, ref.name) if ref is not None else None

    def timing(self) -> Timing:
        """When it ticks. Raises ValueError naming the field, the value and the way out."""
        spec = self.spec
        try:
            cron = Cron.parse(spec.schedule, spec.time_zone)
        except ValueError as error:
            raise ValueError(f"spec.{error}") from error
        return Timing(
            uid=self.uid,
            cron=cron,
            jitter_seconds=spec.jitter_seconds,
            deadline_seconds=spec.starting_deadline_seconds,
            all_ticks=spec.missed_ticks == "All",
        )


def parse(obj: dict[str, Any]) -> Schedule:
    """The typed RedisQueueSchedule that an API server has. Raises ValueError, naming the field, for none."""
    metadata = obj["metadata"]
    spec = with_defaults(obj, definition.schema(definition.SCHEDULE_KIND)).get("spec")
    typed = build(ScheduleSpec, spec, "spec")
    if (typed.queue_ref is None) == (typed.redis is None) or (typed.redis is None) != (typed.queue is None):
        raise ValueError("spec: set queueRef, or redis with queue")
    return Schedule(
        key=Key(metadata.get("namespace") or "default", metadata["name"]),
        uid=metadata["uid"],
        generation=metadata.get("generation") or 0,
        created=datetime.fromisoformat(metadata.get("creationTimestamp") or EPOCH),
        spec=typed,
        payload=obj["spec"].get("payload"),
        raw=obj,
    )
