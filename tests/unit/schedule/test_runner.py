"""One schedule on a real Redis: leaders that end at every step, no Redis, no queue."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.redisqueue_cases import schedule as smallest

from redis_message_queue import envelope
from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.errors import QueueUnusable
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.schedule.resource import Schedule, parse
from redisqueue_operator.schedule.runner import (
    LONGEST_WAIT_SECONDS,
    Destination,
    NotOurs,
    ScheduleRunner,
)
from redisqueue_operator.timestamps import timestamp

if TYPE_CHECKING:
    import redis

KEYS = QueueKeys("reports")
START = 1_800_000_000
"""2027-01-15T08:00:00Z"""
MINUTE = 60


class Killed(BaseException):
    """The leader ends here."""


class Stage:
    """What a schedule stands on, with a clock that is set by hand."""

    def __init__(self, redis_url: str) -> None:
        self.connect = ConnectionSettings.connect_async
        self.slots: Bulkhead[str] = Bulkhead(total=8, each=8, slow_seconds=3.0)
        self.url = redis_url
        self.clock = float(START)
        self.status: dict[str, Any] = {}
        self.trouble: Exception | None = None
        self.killed_at = ""
        self.counts: dict[str, int] = {}

    def now(self) -> float:
        return self.clock

    async def target(self, schedule: Schedule) -> Destination:
        self._step("before the message")
        if self.trouble is not None:
            raise self.trouble
        return Destination(ConnectionSettings(url=self.url), KEYS.name, KEYS.separator)

    async def report(self, schedule: Schedule, status: dict[str, Any]) -> bool:
        self._step("before the status")
        self.status = status
        self._step("after the status")
        return True

    def counted(self, schedule: Schedule, outcome: str, ticks: int) -> None:
        self.counts[outcome] = self.counts.get(outcome, 0) + ticks

    def _step(self, name: str) -> None:
        if name == self.killed_at:
            self.killed_at = ""
            raise Killed

    def leader(self, **spec: Any) -> ScheduleRunner:
        """A new one: it knows what the status says."""
        obj = smallest(schedule="* * * * *", **spec)
        obj["metadata"] |= {"uid": "u-1", "generation": 1}
        obj["metadata"]["creationTimestamp"] = "2027-01-15T08:00:00Z"
        return ScheduleRunner(parse({**obj, "status": self.status}), self)  # type: ignore[arg-type]

    def look(self, runner: ScheduleRunner) -> float:
        return asyncio.run(runner.look())

    @property
    def ready(self) -> tuple[str, str]:
        found = {each["type"]: each for each in self.status["conditions"]}
        assert (found["Reconciling"]["status"] == "True") + (found["Stalled"]["status"] == "True") == (
            found["Ready"]["status"] != "True"
        )
        stalled = " Stalled" * (found["Stalled"]["status"] == "True")
        return found["Ready"]["status"] + stalled, found["Ready"]["reason"]


@pytest.fixture
def stage(redis_url: str) -> Stage:
    return Stage(redis_url)


def ids(client: redis.Redis) -> list[str]:
    """Of the messages, in their order."""
    return [str(envelope.decode(each).id) for each in reversed(client.lrange(KEYS.pending, 0, -1))]  # type: ignore[union-attr]


def expected(*minutes: int) -> list[str]:
    return [f"u-1-20270115T08{each:02d}00Z" for each in minutes]


def test_whatever_step_a_leader_ends_at_each_tick_is_one_message(
    stage: Stage, redis_client: redis.Redis
) -> None:
    steps = ("", "before the message", "before the status", "after the status")
    for minute in range(1, 41):
        stage.clock = START + minute * MINUTE + 0.5
        stage.killed_at = steps[minute % 4]
        for _ in range(2):
            try:
                stage.look(stage.leader())
            except Killed:
                continue
    assert ids(redis_client) == expected(*range(1, 41))
    assert stage.status["lastScheduleTime"] == "2027-01-15T08:40:00Z"
    assert len(stage.status["history"]) == 10
    assert stage.status["history"][0]["messageId"] == expected(40)[0]
    assert stage.status["nextScheduleTime"] == "2027-01-15T08:41:00Z"


def test_two_leaders_at_a_time_make_one_message(stage: Stage, redis_client: redis.Redis) -> None:
    one, other = stage.leader(), stage.leader()
    stage.clock += MINUTE
    stage.look(one)
    stage.look(other)
    assert ids(redis_client) == expected(1)


def test_of_a_schedule_that_another_operator_keeps_nothing_is_counted_nor_remembered(
    stage: Stage, redis_client: redis.Redis
) -> None:
    spec = {"startingDeadlineSeconds": 30}
    other, ours = stage.leader(**spec), stage.leader(**spec)
    for minute in range(1, 4):
        stage.clock = START + minute * MINUTE + 1
        stage.trouble = NotOurs()
        assert stage.look(ours) == LONGEST_WAIT_SECONDS
        stage.trouble = None
        stage.look(other)
        ours.schedule = replace(ours.schedule, raw={**ours.schedule.raw, "status": stage.status})
    assert stage.counts == {"enqueued": 3}

    stage.clock += MINUTE
    stage.look(ours)  # the RedisQueue has come to it
    assert ids(redis_client) == expected(1, 2, 3, 4)
    assert [each["outcome"] for each in stage.status["history"]] == ["Enqueued"] * 4
    assert stage.counts == {"enqueued": 4}


def test_the_key_outlives_the_deadline(stage: Stage, redis_client: redis.Redis) -> None:
    stage.clock += MINUTE
    stage.look(stage.leader(startingDeadlineSeconds=7200))
    (key,) = redis_client.keys(f"{KEYS.deduplication_prefix}*")  # type: ignore[misc]
    assert 7200 + 500 < redis_client.ttl(key) <= 7200 + 600  # type: ignore[operator]


def test_while_redis_is_away_it_is_tried_again_until_the_deadline(
    stage: Stage, redis_client: redis.Redis
) -> None:
    runner = stage.leader(startingDeadlineSeconds=30)
    stage.trouble = ConnectionRefusedError()
    stage.clock += MINUTE
    assert 0 < stage.look(runner) <= 1
    assert stage.ready == ("False", "ConnectionRefused")
    assert stage.look(runner) > 1
    stage.trouble = None
    stage.clock += 29
    stage.look(runner)
    assert stage.ready == ("True", "Scheduled")
    stage.trouble = ConnectionRefusedError()
    stage.clock = START + 2 * MINUTE
    stage.look(runner)
    stage.clock += 31
    stage.trouble = None
    stage.look(runner)
    assert stage.ready == ("False", "TickMissed")
    newest = stage.status["history"][0]
    assert (newest["outcome"], newest["missed"], newest["reason"]) == ("Missed", 1, "ConnectionRefused")
    assert newest["scheduledTime"] == "2027-01-15T08:02:00Z"
    assert stage.look(stage.leader(startingDeadlineSeconds=30)) > 20, "nothing is asked of Redis until then"
    assert stage.ready == ("False", "TickMissed")
    stage.clock = START + 3 * MINUTE
    stage.look(runner)
    assert stage.ready == ("True", "Scheduled")
    assert ids(redis_client) == expected(1, 3)
    assert stage.counts == {"enqueued": 2, "missed": 1}


def test_the_log_tells_of_an_outage_once_and_once_an_hour_and_of_its_end(
    stage: Stage, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runner, here, stage.url = stage.leader(startingDeadlineSeconds=30), stage.url, "redis://127.0.0.1:1"
    why = "ConnectionRefused: Nothing accepts connections at Redis' address."
    waits = f"schedule default/nightly waits: {why}"
    for minute in range(1, 60):
        stage.clock = START + minute * MINUTE
        stage.look(runner)
        stage.look(runner)
    assert caplog.messages == [waits]
    stage.clock = START + 61 * MINUTE
    stage.look(runner)
    assert caplog.messages == [waits] * 2
    stage.url = here
    stage.look(runner)
    stage.look(runner)
    assert caplog.messages == [waits] * 2 + ["schedule default/nightly goes on"]
    assert ids(redis_client) == ["u-1-20270115T090100Z"]


def test_a_queue_that_is_missing_is_told_before_the_first_tick(
    stage: Stage, redis_client: redis.Redis
) -> None:
    stage.trouble = QueueUnusable("QueueMissing", "create it", acts=True)
    runner = stage.leader()
    stage.look(runner)
    assert runner.waits
    assert stage.ready == ("False Stalled", "QueueMissing")
    stage.clock += MINUTE
    stage.look(runner)
    stage.trouble = None
    stage.look(runner)
    assert stage.ready == ("True", "Scheduled")
    assert ids(redis_client) == expected(1)


def test_suspended_it_leaves_ticks_out_for_good(stage: Stage, redis_client: redis.Redis) -> None:
    stage.look(stage.leader(suspend=True))
    assert stage.ready == ("True", "Suspended")
    assert "nextScheduleTime" not in stage.status
    stage.clock += 3.5 * MINUTE
    stage.look(stage.leader(suspend=True))
    stage.look(stage.leader())
    assert ids(redis_client) == []
    stage.clock += MINUTE
    stage.look(stage.leader())
    assert ids(redis_client) == expected(4)


@pytest.mark.parametrize(
    "odd", ["2027-01-15T08:00:00+99:00", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "yesterday"]
)
def test_times_that_somebody_wrote_into_the_status_and_nobody_can_read_stop_nothing(
    stage: Stage, redis_client: redis.Redis, odd: str
) -> None:
    stage.clock += MINUTE
    stage.look(stage.leader())
    stage.status |= dict.fromkeys(("countsFrom", "lastScheduleTime", "lastSuccessfulTime"), odd)
    stage.clock += MINUTE
    stage.look(stage.leader())
    assert stage.ready == ("True", "Scheduled")
    assert ids(redis_client) == expected(1, 2)
    assert stage.status["lastScheduleTime"] == "2027-01-15T08:02:00Z"


@pytest.mark.parametrize(
    ("payload", "stored"), [("a text", "a text"), ({"a": [1, None]}, {"a": [1, None]}), (7, 7)]
)
def test_a_text_is_enqueued_as_it_is_anything_else_as_json(
    stage: Stage, redis_client: redis.Redis, payload: Any, stored: Any
) -> None:
    stage.clock += MINUTE
    stage.look(stage.leader(payload=payload))
    (message,) = redis_client.lrange(KEYS.pending, 0, -1)  # type: ignore[misc]
    found = envelope.decode(message).payload
    text = found.decode() if isinstance(found, bytes) else found
    assert (text if isinstance(stored, str) else json.loads(text)) == stored


def test_what_is_no_schedule_is_told_and_counts_from_its_correction(
    stage: Stage, redis_client: redis.Redis
) -> None:
    stage.look(stage.leader())
    broken = stage.leader(timeZone="Europe/Berln")
    stage.clock += 2.5 * MINUTE
    stage.look(broken)
    assert stage.ready == ("False Stalled", "InvalidSchedule")
    assert "did you mean Europe/Berlin?" in str(stage.status["conditions"])
    stage.look(stage.leader(timeZone="Europe/Berlin"))
    assert ids(redis_client) == []
    assert stage.status["countsFrom"] == "2027-01-15T08:02:30Z"
    stage.clock += MINUTE
    stage.look(stage.leader(timeZone="Europe/Berlin"))
    assert ids(redis_client) == expected(3)
    assert timestamp(stage.leader().schedule.created) == "2027-01-15T08:00:00Z"
