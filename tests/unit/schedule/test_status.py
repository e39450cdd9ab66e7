"""The status of a RedisQueueSchedule that cannot be read."""

from __future__ import annotations

from tests.support.redisqueue_cases import schedule

from redisqueue_operator.api import definition, structure
from redisqueue_operator.api.objects import conditions_of
from redisqueue_operator.decide.due import progress_of
from redisqueue_operator.schedule.resource import parse
from redisqueue_operator.schedule.status import IN_FORCE, build_status, unusable

SCHEMA = definition.schema(definition.SCHEDULE_KIND)["properties"]["status"]


def test_one_that_cannot_be_read_keeps_what_was_done_and_promises_nothing() -> None:
    obj = schedule()
    obj["metadata"] |= {"uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    one = parse(obj)
    spec = (one.spec.schedule, one.spec.time_zone, one.spec.suspend)
    progress = progress_of({}, spec, one.created).enqueued(one.created, "u-1", one.created)
    before = build_status(one, progress, IN_FORCE, {}, one.created, queue="emails", upcoming=one.created)
    assert "nextScheduleTime" in before
    status = unusable(2, "spec.missedTicks: no", before, 1_800_000_000.0)
    assert list(structure.check(status, SCHEMA, "status")) == []
    assert progress_of(status, spec, one.created) == progress_of(before, spec, one.created)
    assert "nextScheduleTime" not in status
    found = {kind: (each["status"], each["reason"]) for kind, each in conditions_of(status).items()}
    assert found["Ready"] == ("False", "InvalidSpec")
    assert found["Stalled"] == ("True", "InvalidSpec")
