"""What dead workers hold is given back once, and told; what cannot be is tried again, and told as well."""

from __future__ import annotations

from dataclasses import replace

from tests.support.observations import EMPTY_SAMPLE, queue, seen
from tests.support.resources import manifest

from redis_message_queue.stats import Holder, QueueSample
from redisqueue_operator.api import parse
from redisqueue_operator.decide.ended_workers import with_ended_workers
from redisqueue_operator.decide.look import Done, Facts, Memory, Now, Plan
from redisqueue_operator.decide.remember import remembered
from redisqueue_operator.decide.scaling import History, Policy
from redisqueue_operator.decide.status.conditions import degraded
from redisqueue_operator.observe.facts import Fleet, Hindrance

NOW = Now(100.0, 0.0)
RAW = manifest()
RQ = parse(RAW)
MEMORY = Memory(History.fresh(0.0))
REFUSED = Hindrance("ReturnRefused", "NoPermission: no", 103.0)


def sample(*holders: str) -> QueueSample:
    return replace(EMPTY_SAMPLE, holders=tuple(Holder(each, 2) for each in holders))


def facts(holds: QueueSample | Exception | None, *ended: str) -> Facts:
    return Facts(RAW, RQ, fleet=Fleet(ended=ended), sample=holds)


def plan(memory: Memory, seen_now: Facts, now: float = 100.0) -> Plan:
    return with_ended_workers(Plan(memory), seen_now, now)


def test_who_is_dead_and_holds_something_gives_it_back() -> None:
    assert plan(MEMORY, facts(sample("a", "b", "alive"), "a", "b", "c")).give_back == ("a", "b")


def test_nothing_happens_without_a_proof_or_without_anything_to_give() -> None:
    for each in (
        facts(sample("alive")),
        facts(sample(), "a"),
        facts(ConnectionError("away"), "a"),
        facts(None, "a"),
        Facts(RAW, RQ, sample=sample("a")),
    ):
        assert plan(MEMORY, each) == Plan(MEMORY)


def test_each_death_is_acted_on_once_and_told_once() -> None:
    first = plan(MEMORY, facts(sample("a"), "a"))
    memory = remembered(first, Done(returned=2), NOW)
    again = plan(memory, facts(sample("a"), "a"))  # a sample of before
    assert again.give_back == ()
    (event,) = again.events
    assert (event.type, event.reason) == ("Normal", "MessagesReturned")
    assert "2 messages" in event.message
    later = plan(again.memory, facts(sample(), "a"))
    assert (later.give_back, later.events, later.memory) == ((), (), MEMORY)


def test_an_operator_that_begins_anew_finds_nothing_left_to_do() -> None:
    assert plan(MEMORY, facts(sample(), "a")).give_back == ()


def test_a_dead_worker_that_held_nothing_is_no_news() -> None:
    memory = remembered(plan(MEMORY, facts(sample("a"), "a")), Done(returned=0), NOW)
    assert plan(memory, facts(sample(), "a")).events == ()


def test_what_is_refused_is_tried_again_and_told() -> None:
    dead = facts(sample("a"), "a")
    memory = remembered(plan(MEMORY, dead), Done(unreturned=REFUSED), NOW)
    waiting = plan(memory, dead, 101.0)
    assert (waiting.give_back, waiting.again) == ((), 2.0)
    told = degraded(replace(seen(queue()), unreturned=REFUSED.message), Policy.of(RQ.spec), 0, "")
    assert told is not None
    assert (told.status, told.reason) == ("True", "ReturnRefused")
    assert plan(memory, dead, 103.0).give_back == ("a",)
    done = remembered(plan(memory, dead, 103.0), Done(returned=1), NOW)
    assert done.unreturned is None
    assert plan(memory, facts(sample(), "a")).memory.unreturned is None


def test_where_nothing_is_sampled_any_more_nothing_is_given_back() -> None:
    found = with_ended_workers(Plan(MEMORY, sampled=False), facts(sample("a"), "a"), 100.0)
    assert found.give_back == ()
