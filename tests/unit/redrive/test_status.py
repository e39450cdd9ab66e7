"""The status of a RedisQueueRedrive, from where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.redisqueue_cases import redrive

from redis_message_queue import RedriveProgress
from redisqueue_operator.api import definition, structure
from redisqueue_operator.redrive.resource import Redrive, parse
from redisqueue_operator.redrive.status import (
    RedriveState,
    build_status,
    failed,
    news_of,
    running,
    seconds_to_live,
    succeeded,
    unusable,
    waiting,
)

SCHEMA = definition.schema(definition.REDRIVE_KIND)["properties"]["status"]


def typed(**spec: Any) -> Redrive:
    obj = redrive(**spec)
    obj["metadata"] |= {"uid": "u", "generation": 1, "resourceVersion": "1"}
    return parse(obj)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


def test_a_life() -> None:
    one = typed(max=7, ratePerSecond=2)
    waits = build_status(one.generation, waiting("QueueMissing", "no"), {}, 100)
    assert waits["phase"] == "Pending"
    assert "startedAt" not in waits
    assert conditions(waits) == {
        "Complete": ("False", "QueueMissing"),
        "Failed": ("False", "NotFailed"),
        "Ready": ("False", "QueueMissing"),
        "Reconciling": ("True", "QueueMissing"),
        "Stalled": ("False", "NotStalled"),
    }
    runs = build_status(one.generation, running(one, RedriveProgress(3, 1, 9)), waits, 200)
    assert (runs["phase"], runs["moved"], runs["skipped"], runs["remaining"]) == ("Running", 3, 1, 9)
    held_up = build_status(one.generation, waiting("ConnectionRefused", "refused"), runs, 300)
    assert (held_up["phase"], held_up["moved"], held_up["startedAt"]) == ("Pending", 3, runs["startedAt"])
    done = build_status(one.generation, succeeded(one, RedriveProgress(7, 1, 5)), held_up, 400)
    assert done["phase"] == "Succeeded"
    assert (done["startedAt"], done["finishedAt"]) == ("1970-01-01T00:03:20Z", "1970-01-01T00:06:40Z")
    assert conditions(done)["Complete"] == conditions(done)["Ready"] == ("True", "Moved")
    assert conditions(runs)["Reconciling"] == ("True", "Running")
    assert conditions(done)["Reconciling"] == ("False", "Finished")
    (complete,) = (each for each in done["conditions"] if each["type"] == "Complete")
    assert (
        complete["message"] == "7 letters moved, 1 looked at and left, 5 not looked at, because of spec.max."
    )
    assert complete["lastTransitionTime"] == done["finishedAt"]
    for status in (waits, runs, held_up, done):
        assert list(structure.check(status, SCHEMA, "status")) == []
        assert status["observedGeneration"] == 1


def test_a_dry_run_counts() -> None:
    one = typed(dryRun=True)
    done = build_status(one.generation, succeeded(one, RedriveProgress(1, 0, 0)), {}, 1)
    assert conditions(done)["Complete"] == ("True", "Counted")
    assert done["conditions"][0]["message"] == "1 letter would move."


def test_a_failure_is_final_and_says_why() -> None:
    one = typed(match={"pattern": "("})
    status = build_status(one.generation, failed("PatternInvalid", "missing )"), {}, 1)
    assert status["phase"] == "Failed"
    assert status["finishedAt"]
    assert conditions(status) == {
        "Complete": ("False", "PatternInvalid"),
        "Failed": ("True", "PatternInvalid"),
        "Ready": ("False", "PatternInvalid"),
        "Reconciling": ("False", "Finished"),
        "Stalled": ("True", "PatternInvalid"),
    }


def test_one_that_cannot_be_read_waits_for_somebody_and_keeps_what_it_has_counted() -> None:
    one = typed()
    runs = build_status(one.generation, running(one, RedriveProgress(3, 1, 9)), {}, 200)
    status = unusable(2, "spec.from: no", runs, 300)
    assert list(structure.check(status, SCHEMA, "status")) == []
    assert (status["phase"], status["moved"], status["observedGeneration"]) == ("Pending", 3, 2)
    assert conditions(status) == {
        "Complete": ("False", "InvalidSpec"),
        "Failed": ("False", "NotFailed"),
        "Ready": ("False", "InvalidSpec"),
        "Reconciling": ("False", "Finished"),
        "Stalled": ("True", "InvalidSpec"),
    }
    done = build_status(one.generation, succeeded(one, RedriveProgress(7, 1, 5)), status, 400)
    assert unusable(2, "spec.from: no", done, 500) == done, "what has finished stays so"


def test_counters_alone_are_no_news() -> None:
    one = typed()
    some, more = (
        build_status(one.generation, running(one, RedriveProgress(n, 0, 9)), {"startedAt": "x"}, 1)
        for n in (1, 2)
    )
    assert some != more
    assert news_of(some) == news_of(more)
    assert news_of(some) != news_of(build_status(one.generation, waiting("Queued", ""), some, 1))


@pytest.mark.parametrize(
    ("ttl", "now", "left"), [(None, 400, None), (60, 410, 50), (60, 999, 0), (0, 400, 0)]
)
def test_how_long_it_stays(ttl: int | None, now: float, left: float | None) -> None:
    one = typed(ttlSecondsAfterFinished=ttl)
    done = build_status(one.generation, RedriveState("Succeeded", "Moved", ""), {}, 400)
    assert seconds_to_live(one, done, now) == left
    assert seconds_to_live(one, {}, now) is None
    assert seconds_to_live(one, {**done, "finishedAt": "2027-01-15T08:00:00+99:00"}, now) is None
