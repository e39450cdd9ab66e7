"""Two RedisQueues on one Redis queue: the older one works."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.observations import EMPTY_SAMPLE

from redis_message_queue.stats import WorkerState
from redisqueue_operator.decide.queue_conflict import Claimant, owners_of, prior_of

if TYPE_CHECKING:
    from collections.abc import Iterable

OLD = Claimant("2026-01-01T00:00:00Z", "uid-b", "shop/old", "redis 1, jobs")
NEW = Claimant("2026-01-02T00:00:00Z", "uid-a", "shop/new", "redis one, jobs")
KNOWN = {each.uid: each for each in (OLD, NEW)}


def worker(owner: str, *, pod: str = "p", draining: bool = False, age: float = 1.0) -> WorkerState:
    return WorkerState(
        id=pod,
        protocol=1,
        pod_uid=pod,
        owner_uid=owner,
        slots=1,
        busy=0,
        oldest_start_ms=None,
        draining=draining,
        config_hash="",
        updated_ms=round(1e6 - age * 1000),
        retired=False,
    )


def owners(workers: Iterable[WorkerState], own_pods: tuple[str, ...] = ()) -> frozenset[str]:
    sample = replace(EMPTY_SAMPLE, workers=tuple(workers))
    return owners_of(sample, "uid-a", own_pods)


def test_who_works_here_is_read_from_fresh_workers_that_mean_to_stay() -> None:
    assert owners([worker("uid-a"), worker("uid-b")]) == {"uid-a", "uid-b"}
    assert owners([worker("uid-b", draining=True), worker("uid-c", age=30.0), worker("")]) == set()


def test_workers_that_a_namesake_left_behind_are_nobodys() -> None:
    assert owners([worker("uid-b", pod="mine"), worker("uid-a", pod="mine")], ("mine",)) == {"uid-a"}


def test_the_older_one_works_and_the_newer_one_yields() -> None:
    both = {OLD.uid, NEW.uid}
    assert prior_of(OLD, both, KNOWN, None) is None
    assert prior_of(NEW, both, KNOWN, None) == OLD


def test_the_older_one_keeps_its_right_while_it_has_no_worker() -> None:
    assert prior_of(NEW, {NEW.uid}, KNOWN, OLD) == OLD
    assert prior_of(NEW, {NEW.uid}, {NEW.uid: NEW}, OLD) is None, "it is gone"
    moved = Claimant(OLD.created, OLD.uid, OLD.name, "another Redis, jobs")
    assert prior_of(NEW, {NEW.uid}, {**KNOWN, OLD.uid: moved}, OLD) is None, "it went elsewhere"


def test_those_that_share_work_side_by_side() -> None:
    old, new = replace(OLD, shares=True), replace(NEW, shares=True)
    both = {OLD.uid, NEW.uid}
    known = {each.uid: each for each in (old, new)}
    assert prior_of(new, both, known, None) is None
    assert prior_of(old, both, known, new) is None
    assert prior_of(new, {"uid-0", NEW.uid}, known, None) is None, "one of another cluster"
    assert prior_of(new, both, {**known, OLD.uid: OLD}, None) == OLD, "the older one does not"
    assert prior_of(NEW, both, {**known, NEW.uid: NEW}, None) == old, "the newer one does not"
    assert prior_of(new, both, known, OLD) is None, "the older one does now"


@pytest.mark.parametrize(
    ("at_work", "yields"), [({"uid-z"}, True), ({"uid-a", "uid-z"}, False), ({"uid-a", "uid-0"}, True)]
)
def test_of_an_unknown_one_only_its_presence_is_known(at_work: set[str], yields: bool) -> None:
    found = prior_of(NEW, at_work, KNOWN, None)
    assert (found is not None) is yields
