"""A plan is carried out step by step, in one order; a step that is refused is undone, and told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoPermissionError
from tests.support.observations import pod
from tests.support.resources import redis_queue

from redisqueue_operator.apply.execute import execute
from redisqueue_operator.decide.canary import Split
from redisqueue_operator.decide.children.plan import Children
from redisqueue_operator.decide.look import Memory, Plan, Scale
from redisqueue_operator.decide.scaling import Decision, History
from redisqueue_operator.decide.status import EventRecord
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.observe.facts import ApplyOutcome, Canary, Fleet
from redisqueue_operator.platform import Mark, Protect, SetFinalizer, SetNumber, WriteStatus, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.decide.look import Done
    from redisqueue_operator.platform import Step

MEMORY = Memory(History.fresh(0.0))
RQ = redis_queue()
PODS = tuple(pod(name) for name in "abcd")
FLEET = Fleet(4, 4, 1, PODS, "7", marked=("c",))
TOLD = EventRecord("Normal", "Scaled", "fewer", "Scale")
WRITTEN = Written(ApplyOutcome(True, "Applied", ""), "live")
SHRINK = Scale(FLEET, Split(2, 0), ("a", "b"), Decision(4, 2, "Empty", victims=("a", "b")))
SHRINKING = Plan(MEMORY, retire=("a", "b"), scale=SHRINK)
UNDONE = [("spare", "ab"), ("unretire", "ab")]


class World:
    """Does nothing but note what it is asked for; `refuses` says which words end in which error."""

    def __init__(self, refuses: dict[str, Exception] | None = None, *, busy: str = "") -> None:
        self.notes: list[tuple[Any, ...]] = []
        self._refuses = refuses or {}
        self._busy = busy

    def _note(self, word: str, *what: Any) -> None:
        self.notes.append((word, *what))
        if word in self._refuses:
            raise self._refuses[word]

    async def retire(self, _: Key, ids: Sequence[str]) -> tuple[str, ...]:
        self._note("retire", "".join(ids))
        return tuple(each for each in ids if each not in self._busy)

    async def unretire(self, _: Key, ids: Sequence[str]) -> None:
        self._note("unretire", "".join(ids))

    async def give_back(self, _: Key, instances: Sequence[str]) -> int:
        self._note("give back", *instances)
        return 2 * len(instances)

    async def get(self, _: Key) -> None:
        return None

    async def execute(self, _: RedisQueue, step: Step) -> Written | None:
        match step:
            case Children():
                self._note("children", step.wanted)
                return WRITTEN
            case Mark():
                self._note("mark" if step.first else "spare", "".join(name for name, _ in step.pods))
                assert all(uid == f"uid-{name}" for name, uid in step.pods)
                if step.released:
                    self._note("in the same write", "".join(name for name, _ in step.released))
            case Protect():
                self._note("protect" if step.protect else "release", "".join(name for name, _ in step.pods))
            case SetNumber():
                self._note("scale", tuple(step.split), "".join(step.victims), step.fleet.version)
            case WriteStatus():
                self._note("status", step.status["state"])
            case EventRecord():
                self._note("event", step.reason)
            case SetFinalizer():
                self._note("finalizer", step.held)
        return None


async def done(world: World, plan: Plan) -> Done:
    return await execute(RQ, plan, world, world, 100.0)  # type: ignore[arg-type]


async def test_the_order_of_all_writes() -> None:
    world = World()
    plan = replace(
        SHRINKING,
        give_back=("dead", "dead, too"),
        children=Children("v1", workers={}),
        recall=("d",),
        status={"state": "Running"},
        events=(TOLD, TOLD),
        finalizer=False,
        protect=(("e", "uid-e"),),
        release=(("b", "uid-b"), ("f", "uid-f")),
    )
    found = await done(world, plan)
    assert world.notes == [
        ("give back", "dead", "dead, too"),
        ("children", "v1"),
        ("retire", "ab"),
        ("spare", "c"),
        ("mark", "ab"),
        ("in the same write", "b"),
        ("scale", (2, 0), "ab", "7"),
        ("unretire", "d"),
        ("status", "Running"),
        ("event", "Scaled"),
        ("event", "Scaled"),
        ("finalizer", False),
        ("protect", "e"),
        ("release", "f"),
    ]
    assert (found.failed, found.error, found.told) == ("", None, True)
    assert (found.written, found.scaled) == (WRITTEN, Split(2, 0))
    assert (found.returned, found.unreturned) == (4, None)


@pytest.mark.parametrize(
    ("error", "until"),
    [
        (ApiError(403, "Forbidden", "pods are not yours"), 400.0),
        (ApiError(422, "Invalid", "a rule: pods are not yours"), 400.0),
        (ApiError(503, "ServiceUnavailable", "later"), 100.0),
        (TimeoutError(), 100.0),
    ],
    ids=["no right", "a rule", "too much to do", "no answer"],
)
async def test_pods_that_cannot_be_protected_hold_up_nothing(error: Exception, until: float) -> None:
    """And people are told where another try does not help."""
    world = World({"protect": error})
    pods = (("e", "uid-e"),)
    found = await done(world, replace(SHRINKING, status={"state": "Running"}, protect=pods, release=pods))
    assert (found.failed, found.scaled, found.told) == ("", Split(2, 0), True)
    assert found.unprotected is not None
    assert (found.unprotected.reason, found.unprotected.until) == ("ProtectionRefused", until)
    assert ("not yours" in found.unprotected.message) is (until > 100.0)


@pytest.mark.parametrize(
    ("error", "told"),
    [(NoPermissionError("NOPERM"), True), (Conflict("later"), False), (TimeoutError(), False)],
)
async def test_what_dead_workers_hold_holds_up_nothing(error: Exception, told: bool) -> None:
    world = World({"give back": error})
    found = await done(world, replace(SHRINKING, give_back=("dead",)))
    assert (found.failed, found.scaled, found.returned) == ("", Split(2, 0), None)
    assert found.unreturned is not None
    assert (found.unreturned.reason, found.unreturned.until) == ("ReturnRefused", 103.0)
    assert ("NoPermission" in found.unreturned.message) is told
    assert bool(found.unreturned.message) is told


async def test_an_empty_plan_does_nothing() -> None:
    world = World()
    found = await done(world, Plan(MEMORY))
    assert world.notes == []
    assert (found.failed, found.told, found.scaled, found.written) == ("", False, None, None)


@pytest.mark.parametrize(
    ("busy", "number", "victims"), [("", (2, 0), "ab"), ("a", (3, 0), "b"), ("b", (3, 0), "a")]
)
async def test_who_took_a_message_meanwhile_stays(busy: str, number: tuple[int, int], victims: str) -> None:
    world = World(busy=busy)
    assert (await done(world, SHRINKING)).scaled == number
    assert ("scale", number, victims, "7") in world.notes
    assert ("mark", victims) in world.notes


async def test_where_all_of_them_stay_nothing_is_written_and_no_error_is_told() -> None:
    world = World(busy="ab")
    found = await done(world, SHRINKING)
    assert world.notes == [("retire", "ab")]
    assert (found.failed, found.error, found.hindrance) == ("retire", None, None)


async def test_a_person_s_number_stands_although_a_victim_is_busy() -> None:
    world = World(busy="a")
    decision = replace(SHRINK.decision or Decision(4, 2, ""), drain_busy=True)
    assert (await done(world, replace(SHRINKING, scale=replace(SHRINK, decision=decision)))).scaled == (2, 0)


async def test_a_canary_that_stays_is_a_canary_still() -> None:
    pods = (*PODS[:2], pod("c", canary=True), pod("d", canary=True))
    fleet = Fleet(4, 4, 1, pods, "7", Canary(2, "8"))
    scale = Scale(fleet, Split(1, 1), ("a", "c"), Decision(4, 2, "", victims=("a", "c")), 50.0)
    plan = Plan(MEMORY, retire=("a", "c"), scale=scale)
    assert (await done(World(busy="c"), plan)).scaled == (1, 2)
    assert (await done(World(busy="a"), plan)).scaled == (2, 1)


@pytest.mark.parametrize("word", ["mark", "scale"])
async def test_a_refused_shrink_is_undone_and_told(word: str) -> None:
    world = World({word: PlatformError("no")})
    found = await done(world, replace(SHRINKING, status={"state": "Running"}))
    assert world.notes[-2:] == UNDONE
    assert (found.failed, found.scaled, found.told) == ("scale", None, False)
    assert found.hindrance is not None
    assert (found.hindrance.reason, found.hindrance.message) == ("ScaleRefused", "no")


async def test_a_conflict_is_undone_and_told_to_whoever_looks_again() -> None:
    world = World({"scale": Conflict("somebody was faster")})
    found = await done(world, SHRINKING)
    assert (found.failed, str(found.error)) == ("scale", "somebody was faster")
    assert world.notes[-2:] == UNDONE


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError()])
async def test_marks_stay_where_no_answer_came_for_the_number_may_have_changed(error: Exception) -> None:
    world = World({"scale": error})
    assert (await done(world, SHRINKING)).error is error
    assert world.notes[-1] == ("unretire", "ab")
    assert ("spare", "ab") not in world.notes


async def test_an_undoing_that_fails_does_not_hide_why_it_was_undone() -> None:
    world = World({"scale": PlatformError("not on Fridays"), "unretire": ConnectionResetError("gone")})
    found = await done(world, SHRINKING)
    assert str(found.error) == "not on Fridays"


async def test_workers_that_cannot_be_told_keep_their_number() -> None:
    world = World({"retire": NoPermissionError("NOPERM")})
    found = await done(world, SHRINKING)
    assert world.notes == [("retire", "ab")]
    assert found.hindrance is not None
    assert found.hindrance.reason == "RetireRefused"


@pytest.mark.parametrize("word", ["children", "status", "finalizer"])
async def test_what_is_refused_beside_the_number_is_no_hindrance_of_it(word: str) -> None:
    error = PlatformError("no")
    plan = Plan(
        MEMORY, children=Children("v1", workers={}), status={"state": "Idle"}, events=(TOLD,), finalizer=True
    )
    world = World({word: error})
    found = await done(world, plan)
    assert world.notes[-1][0] == word, "nothing that builds upon it was done"
    assert (found.failed, found.error, found.hindrance) == (word, error, None)
    assert found.told is (word == "finalizer")


@pytest.mark.parametrize(
    "error", [PlatformError("the namespace ends"), ConnectionResetError(), TimeoutError()]
)
async def test_an_event_that_is_refused_keeps_nothing_from_being_done(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = World({"event": error})
    found = await done(world, Plan(MEMORY, events=(TOLD, TOLD), finalizer=False))
    assert world.notes == [("event", "Scaled"), ("event", "Scaled"), ("finalizer", False)]
    assert (found.failed, found.error) == ("", None)
    assert "Scaled" in caplog.text
