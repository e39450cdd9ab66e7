"""Whose a RedisQueue is, what it may have, and what a budget says of that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.observations import fleet, queue
from tests.support.redisqueue_cases import budget, redis_queue

from redisqueue_operator.api import definition, parse, structure
from redisqueue_operator.budget import resource
from redisqueue_operator.budget.shares import EXPECTED_SECONDS, UNSEEN_SECONDS, Budgets
from redisqueue_operator.budget.status import SHOWN, build_status, numbers, unusable
from redisqueue_operator.decide.budget import shares
from redisqueue_operator.decide.scaling import History, Policy, decide

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.decide.budget import Allotment, Claim, Limit

SCHEMA = definition.schema(definition.BUDGET_KIND)["properties"]["status"]


class World:
    """Budgets, and RedisQueues that are looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.budgets = Budgets(lambda: self.now)
        self.told: list[Key] = []
        self.budgets.notify = self.told.append

    def budget(self, name: str = "shared", at: int = 0, **spec: Any) -> Key:
        obj = budget(**spec)
        obj["metadata"] |= {"name": name, "generation": 1, "creationTimestamp": f"2026-01-01T00:00:{at:02}Z"}
        parsed = resource.parse(obj)
        self.budgets.put(parsed)
        return parsed.key

    def queue(self, name: str, team: str = "a", **spec: Any) -> RedisQueue:
        obj = redis_queue(name, **{"scaling": {"maxReplicas": 100, "backlogPerSlot": 1}, **spec})
        obj["metadata"] |= {"uid": name, "generation": 1, "labels": {"team": team}}
        return parse(obj)

    def look(self, rq: RedisQueue, pending: int, idle: int = 0) -> int:
        """How many workers it is to have, after a look at it."""
        policy = Policy.of(rq.spec, None, self.budgets.ceiling(rq))
        seen = fleet(queue(pending), idle=idle)
        decision, _ = decide(seen, policy, History.fresh(0.0), 100.0)
        self.budgets.claim(rq, seen, decision, grows=decision.to_replicas > idle)
        self.budgets.looked(rq.key)
        return decision.to_replicas

    def status(self, key: Key) -> dict[str, Any]:
        found = build_status(self.budgets.sharings[key], {}, 0)
        assert list(structure.check(found, SCHEMA, "status")) == []
        return found

    def conditions(self, key: Key) -> dict[str, tuple[str, str]]:
        return {each["type"]: (each["status"], each["reason"]) for each in self.status(key)["conditions"]}


@pytest.fixture
def world() -> World:
    return World()


def test_a_queue_grows_once_its_share_is_known_and_is_free_when_the_budget_is_gone(world: World) -> None:
    jobs = world.queue("jobs")
    key = world.budget(maxReplicas=3)
    assert world.look(jobs, 10) == 0
    assert world.budgets.share_out() == {key}
    assert world.told[-1] == jobs.key
    assert world.look(jobs, 10) == 3
    world.told.clear()
    world.budgets.drop(key)
    assert world.told == [jobs.key]
    assert world.look(jobs, 10) == 10


def test_two_looks_at_once_do_not_give_the_same_worker_twice(world: World) -> None:
    """What one queue asked for counts before it is seen."""
    world.budget(maxReplicas=3)
    one, two = world.queue("one"), world.queue("two")
    assert world.look(one, 10) == 0
    world.budgets.share_out()
    assert world.look(one, 10) == 3
    assert world.look(two, 10) == 0
    world.look(one, 10)
    world.budgets.share_out()
    assert world.budgets.ceiling(two).most == 0  # type: ignore[union-attr]


def test_a_number_that_never_came_is_free_after_a_while(world: World) -> None:
    key = world.budget(maxReplicas=3)
    one, two = world.queue("one"), world.queue("two")
    world.look(one, 10)
    world.look(two, 10)
    world.budgets.share_out()
    assert world.look(one, 10) == 2
    world.look(one, 0)
    world.budgets.share_out()
    assert world.look(two, 10) == 3, "it wants none any more"
    world.budgets.share_out()
    assert world.budgets.share_out() == {key}, "until they are seen it looks again"
    world.now += UNSEEN_SECONDS
    world.budgets.share_out()
    assert world.budgets.share_out() == set()


def test_what_a_queue_has_that_was_not_looked_at_yet_is_not_given_away(world: World) -> None:
    key = world.budget(maxReplicas=3)
    one, two = world.queue("one"), world.queue("two")
    world.budgets.expect([one.key, two.key])
    world.look(one, 10)
    assert world.budgets.share_out() == set()
    world.look(two, 10, idle=3)
    assert world.budgets.share_out() == {key}
    assert world.look(one, 10) == 0


def test_nobody_waits_for_ever_for_a_queue(world: World) -> None:
    key = world.budget(maxReplicas=3)
    one = world.queue("one")
    world.budgets.expect([one.key, replace(one.key, name="broken")])
    world.look(one, 10)
    world.now += EXPECTED_SECONDS + 1
    assert world.budgets.share_out() == {key}


def test_before_the_budgets_are_read_nobody_grows(world: World) -> None:
    world.budgets = Budgets(unread=(None,))
    world.budgets.notify = world.told.append
    jobs = world.queue("jobs")
    assert world.look(jobs, 10, idle=2) == 2
    world.budgets.listed(None)
    assert world.told == [jobs.key]
    assert world.look(jobs, 10, idle=2) == 10


def test_of_two_budgets_the_oldest_counts_and_both_say_so(world: World) -> None:
    young, old = world.budget("a", at=2, maxReplicas=9), world.budget("b", at=1, maxReplicas=2)
    jobs = world.queue("jobs")
    world.look(jobs, 10)
    world.budgets.share_out()
    assert world.look(jobs, 10) == 2
    assert (
        world.conditions(old)["Exclusive"] == world.conditions(young)["Exclusive"] == ("False", "Overlapping")
    )
    assert world.conditions(young)["Ready"] == ("True", "NoQueues")
    world.budgets.drop(old)
    world.look(jobs, 10)
    world.budgets.share_out()
    assert world.look(jobs, 10) == 9
    assert world.conditions(young)["Exclusive"] == ("True", "NoOverlap")


def test_labels_say_whose_a_queue_is(world: World) -> None:
    key = world.budget(selector={"matchLabels": {"team": "a"}}, maxReplicas=1)
    ours, other = world.queue("jobs"), world.queue("others", team="b")
    assert (world.look(ours, 10), world.look(other, 10)) == (0, 10)
    world.budgets.share_out()
    assert world.look(ours, 10) == 1
    assert world.look(world.queue("jobs", team="b"), 10) == 10
    world.budgets.share_out()
    assert world.status(key)["queues"] == 0


def test_the_share_of_a_deleted_queue_is_free(world: World) -> None:
    world.budget(maxReplicas=3)
    one, two = world.queue("one"), world.queue("two")
    world.look(one, 10, idle=3)
    world.look(two, 10)
    world.budgets.share_out()
    assert world.look(two, 10) == 0
    world.budgets.forget(one.key)
    world.budgets.share_out()
    assert world.look(two, 10) == 3


def test_pods_without_requests_are_told_of(world: World) -> None:
    key = world.budget(maxReplicas=None, cpu="2")
    world.look(world.queue("jobs"), 10)
    world.budgets.share_out()
    assert world.conditions(key)["Countable"] == ("False", "MissingRequests")
    assert world.status(key)["cpu"] == "0m"


def test_a_status_says_who_got_what_and_lists_no_more_than_fifty(world: World) -> None:
    key = world.budget(maxReplicas=5)
    for n in range(SHOWN + 10):
        scaling = {"minReplicas": 1, "maxReplicas": 9, "backlogPerSlot": 1}
        world.look(world.queue(f"q{n}", scaling=scaling), 3)
    world.budgets.share_out()
    status = world.status(key)
    assert (status["queues"], status["limited"], len(status["shares"])) == (SHOWN + 10, SHOWN + 10, SHOWN)
    assert world.conditions(key)["MinimumsFit"] == ("False", "MinimumsExceedBudget")
    assert world.conditions(key)["Limited"] == ("True", "Scarce")
    assert unusable(1, "spec.cpu: no", {}, 0)["conditions"][0]["reason"] == "InvalidSpec"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"maxReplicas": []}, "spec.maxReplicas"),
        ({"selector": {"matchLabels": ["a"]}}, "spec.selector.matchLabels"),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}},
            "spec.selector.matchExpressions",
        ),
        ({"selector": None}, "spec.selector"),
        ({"memory": "much"}, "spec.memory"),
    ],
)
def test_what_cannot_be_read_names_its_field(spec: dict[str, Any], field: str) -> None:
    """As definitions of another release may let it pass."""
    obj = budget(**spec)
    obj["metadata"] |= {"uid": "u"}
    with pytest.raises(ValueError, match=field.replace(".", "[.]")):
        resource.parse(obj)


def test_numbers_tell_of_what_is_limited_and_of_queues_that_were_looked_at(world: World) -> None:
    key = world.budget(maxReplicas=3, cpu="1500m")
    assert set(numbers(world.budgets.sharings[key])) == {("limit", "workers", 3), ("limit", "cpu", 1.5)}
    each = {"requests": {"cpu": "250m"}}
    world.look(world.queue("jobs", worker={"handler": "a:b", "resources": each}), 10, idle=2)
    world.budgets.share_out()
    found = {(what, resource): value for what, resource, value in numbers(world.budgets.sharings[key])}
    assert (found[("used", "workers")], found[("asked", "workers")]) == (2, 10)
    assert (found[("used", "cpu")], found[("asked", "cpu")]) == (0.5, 2.5)
    assert not [resource for _, resource in found if resource == "memory"]


def test_many_changes_are_shared_out_together(world: World) -> None:
    """Once for all of them, whatever their number: the work does not grow with its square."""
    key = world.budget(maxReplicas=70)
    queues = [world.queue(f"q{n}") for n in range(50)]
    for rq in queues:
        world.look(rq, 3)
    assert world.budgets.share_out() == {key}
    assert world.budgets.share_out() == set()
    assert sum(share.ceiling for share in world.budgets.sharings[key].shares.values()) == 70
    share = {rq.key: world.budgets.ceiling(rq) for rq in queues}
    for expected in ({key}, set()):
        for rq in queues:
            world.look(rq, 3, idle=share[rq.key].most or 0)  # type: ignore[union-attr]
        assert world.budgets.share_out() == expected


def test_a_worker_beyond_all_measure_gets_no_room_and_breaks_nothing(world: World) -> None:
    world.budget(maxReplicas=None, cpu="4")

    def sized(name: str, cpu: str) -> RedisQueue:
        return world.queue(name, worker={"handler": "a:b", "resources": {"requests": {"cpu": cpu}}})

    jobs, endless = sized("jobs", "1"), sized("endless", "1e400")
    assert (world.look(jobs, 10), world.look(endless, 10)) == (0, 0)
    world.budgets.share_out()
    assert (world.look(jobs, 10), world.look(endless, 10)) == (4, 0)


def test_a_budget_that_fails_keeps_no_other_one_from_being_shared_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [world.budget(team, selector={"matchLabels": {"team": team}}, maxReplicas=3) for team in "abc"]
    queues = [world.queue(f"of-{team}", team=team) for team in "abc"]
    for rq in queues:
        world.look(rq, 10)

    def failing(claims: tuple[Claim, ...], limit: Limit) -> dict[str, Allotment]:
        if claims[0].queue == "of-b":
            raise ZeroDivisionError
        return shares(claims, limit)

    monkeypatch.setattr("redisqueue_operator.budget.shares.shares", failing)
    assert world.budgets.share_out() == set(keys)
    assert [world.look(rq, 10) for rq in queues] == [3, 0, 3]
