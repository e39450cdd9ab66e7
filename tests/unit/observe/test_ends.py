"""What proves that a worker's process is dead: how its container ended, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.observe.test_cache import CREATED_AT, OWNER, obj

from redisqueue_operator.observe.cache import PODS, REDISQUEUES, Store, fleet_of
from redisqueue_operator.observe.ends import MOST_REMEMBERED, Ends, ended_in


def killed(instance: str = "aa", **more: Any) -> dict[str, Any]:
    message = f"redisqueue-worker instance {instance}\n"
    return {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": message, **more}}


def status(state: dict[str, Any], last: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    container = {"name": "worker", "state": state, "lastState": last or {}, "restartCount": 1}
    return {"phase": "Running", "containerStatuses": [container], **more}


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
WAITING = {"waiting": {"reason": "CrashLoopBackOff"}}
UNSEEN = killed(reason="ContainerStatusUnknown")


@pytest.mark.parametrize(
    ("seen", "dead"),
    [
        (status(killed()), ["aa"]),
        (status(killed(), phase="Failed"), ["aa"]),
        (status(WAITING, killed()), ["aa"]),
        (status(RUNNING, killed()), ["aa"]),
        (status(killed("bb"), killed("aa")), ["bb", "aa"]),
        (status(killed(message="my own words")), []),
        (status(UNSEEN), []),
        (status(RUNNING), []),
        (status(WAITING), []),
        (status(RUNNING, phase="Failed", reason="NodeLost"), []),
        (status(RUNNING, phase="Unknown"), []),
        (status(RUNNING, conditions=[{"type": "Ready", "status": "False"}]), []),
        ({}, []),
    ],
)
def test_only_a_container_that_was_seen_to_end_tells_of_it(seen: dict[str, Any], dead: list[str]) -> None:
    assert list(ended_in({"status": seen})) == dead


def store(*pods: dict[str, Any]) -> Store:
    found = Store()
    found.put(REDISQUEUES, obj("mails", 1))
    for pod in pods:
        found.put(PODS, pod)
    return found


def dead(found: Store) -> tuple[str, ...]:
    return fleet_of(found, OWNER, None, CREATED_AT).ended


def test_a_pod_that_is_gone_has_shown_its_end_or_has_shown_nothing() -> None:
    found = store(obj("shown", 2, status=status(RUNNING)), obj("silent", 3, status=status(RUNNING)))
    assert dead(found) == ()
    found.deleted(PODS, obj("silent", 4, status=status(RUNNING)))
    found.deleted(PODS, obj("shown", 5, status=status(killed())))
    assert dead(found) == ("aa",)
    assert list(found.children(PODS, OWNER)) == []


def test_each_death_of_a_pod_is_known_also_after_the_next() -> None:
    found = store(obj("pod", 2, status=status(killed("first"))))
    found.put(PODS, obj("pod", 3, status=status(RUNNING, killed("first"))))
    found.put(PODS, obj("pod", 4, status=status(RUNNING, killed("second"))))
    assert dead(found) == ("first", "second")


def test_pods_that_were_seen_before_their_redis_queue_are_known_too() -> None:
    found = Store()
    found.put(PODS, obj("pod", 2, status=status(WAITING, killed())))
    found.put(REDISQUEUES, obj("mails", 3))
    assert dead(found) == ("aa",)


def test_a_pod_of_somebody_else_tells_nothing() -> None:
    owner = [{"kind": "Job", "name": "mails", "controller": True}]
    found = store(obj("pod", 2, status=status(killed()), metadata={"ownerReferences": owner}))
    assert dead(found) == ()


def test_nothing_is_remembered_of_a_redis_queue_that_is_gone() -> None:
    found = store(obj("pod", 2, status=status(killed())))
    found.deleted(REDISQUEUES, obj("mails", 3))
    found.deleted(PODS, obj("pod", 4, status=status(killed())))
    found.put(REDISQUEUES, obj("mails", 5))
    assert dead(found) == ()


def test_a_bounded_number_is_remembered() -> None:
    ends = Ends()
    ends.note(OWNER, map(str, range(MOST_REMEMBERED + 5)))
    assert len(ends.of(OWNER)) == MOST_REMEMBERED
    assert ends.of(OWNER)[0] == "5"


def test_the_cause_of_a_crash_is_told_without_it() -> None:
    words = killed()["terminated"]["message"] + "no such table"
    found = store(obj("pod", 2, status=status(WAITING, killed(message=words))))
    (pod,) = fleet_of(found, OWNER, None, CREATED_AT).pods
    assert pod.words == "OOMKilled, exit code 137: no such table"
