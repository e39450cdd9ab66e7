"""A status of which an older definition keeps a part is written once, not again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.fake_platform import FakePlatform

from redisqueue_operator.api import parse
from redisqueue_operator.apply.execute import execute
from redisqueue_operator.decide.look import Memory, Now, Plan
from redisqueue_operator.decide.remember import remembered
from redisqueue_operator.decide.scaling import History
from redisqueue_operator.decide.status import COUNTERS_SECONDS, lost_in, without, worth_writing

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue

WRITTEN = {
    "state": "Idle",
    "rates": {"claims": 1.0, "handlerSeconds": 2.0},
    "decision": {"reason": "Load", "terms": [{"name": "pending", "value": 1, "unit": "messages"}] * 2},
    "schedule": {"inForce": ""},
}
KEPT = {
    "state": "Idle",
    "rates": {"claims": 1.0},
    "decision": {"reason": "Load", "terms": [{"name": "pending", "value": 1}] * 2},
}
LATER = COUNTERS_SECONDS + 1


def test_what_is_not_kept_is_not_worth_a_write() -> None:
    lost = set(lost_in(KEPT, WRITTEN))
    assert lost == {("rates", "handlerSeconds"), ("decision", "terms", "unit"), ("schedule",)}
    assert without(WRITTEN, lost) == KEPT
    assert worth_writing(KEPT, WRITTEN, LATER)
    assert not worth_writing(KEPT, WRITTEN, LATER, lost)
    assert worth_writing(KEPT, {**WRITTEN, "state": "Running"}, 0.0, lost)
    assert worth_writing(KEPT, {**WRITTEN, "rates": {"claims": 3.0}}, LATER, lost)


def test_what_is_kept_is_compared_as_ever() -> None:
    assert not set(lost_in(WRITTEN, WRITTEN))
    assert not set(lost_in({**WRITTEN, "state": "Running", "more": 1}, WRITTEN)), "changed is not lost"
    assert without(WRITTEN, ()) is WRITTEN


async def test_what_became_of_a_status_is_remembered() -> None:
    class Older(FakePlatform):
        """Of an older definition."""

        async def write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
            await super().write_status(rq, without(status, [("schedule",)]))

    platform = Older("redis://unused")
    rq = parse(platform.objects[platform.put("jobs")])
    plan, now = Plan(Memory(History.fresh(0.0)), status=WRITTEN), Now(0.0, 0.0)
    done = await execute(rq, plan, platform, None, 0.0)  # type: ignore[arg-type]
    assert remembered(plan, done, now).lost == (("schedule",),)
