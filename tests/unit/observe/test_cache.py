"""What the watches told: newest wins, lists heal, and how it reads as a Fleet."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from redisqueue_operator.api.model import Key
from redisqueue_operator.observe.cache import (
    DEPLOYMENTS,
    PODS,
    QUEUE_LABEL,
    REDISQUEUES,
    REPLICASETS,
    Store,
    fleet_of,
    has_rolled,
    owns_replicas,
)

OWNER = Key("shop", "mails")
CREATED = "2026-01-01T00:00:00Z"
CREATED_AT = 1767225600.0


def obj(name: str, version: int, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": str(version)}
    metadata |= {
        "labels": {"redisqueue.dev/queue": "mails"},
        "creationTimestamp": CREATED,
        "managedFields": [{"manager": "somebody", "operation": "Update", "fieldsV1": {}}],
    }
    metadata |= more.pop("metadata", {})
    return {"metadata": metadata, "spec": {}, "status": {}, **more}


def test_older_news_never_replaces_newer() -> None:
    store = Store()
    assert store.put(REDISQUEUES, obj("mails", 5)) == (OWNER,)
    assert store.put(REDISQUEUES, obj("mails", 4)) == ()
    assert store.drop(REDISQUEUES, OWNER, 4) == ()
    found = store.get(REDISQUEUES, OWNER)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "5"


def test_a_child_is_news_about_its_queue_and_a_stranger_about_none() -> None:
    store = Store()
    assert store.put(PODS, obj("pod", 1)) == (OWNER,)
    assert store.put(PODS, obj("stranger", 1, metadata={"labels": {}})) == ()
    assert [pod["metadata"]["name"] for pod in store.children(PODS, OWNER)] == ["pod"]
    assert store.drop(PODS, Key("shop", "pod"), 2) == (OWNER,)
    assert list(store.children(PODS, OWNER)) == []


def test_a_list_tells_of_what_a_broken_watch_missed() -> None:
    store = Store()
    store.put(PODS, obj("gone", 3))
    store.put(PODS, obj("newer-than-the-list", 12))
    store.put(PODS, obj("missed", 7))
    present = {Key("shop", "missed")}
    assert store.keep(PODS, present, version=10, namespace="shop") == (OWNER,)
    names = sorted(pod["metadata"]["name"] for pod in store.children(PODS, OWNER))
    assert names == ["missed", "newer-than-the-list"]


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    store = Store()
    store.put(PODS, obj("pod", 3))
    store.keep(PODS, set(), version=10, namespace="other")
    assert len(list(store.children(PODS, OWNER))) == 1


def test_pods_read_as_workers() -> None:
    store = Store()
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    starting = {"state": {"waiting": {"reason": "ContainerCreating"}}}
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    store.put(PODS, obj("ready", 1, status=ready))
    store.put(PODS, obj("crashes", 1, status={"phase": "Running", "containerStatuses": [waiting]}))
    store.put(PODS, obj("starts", 1, status={"phase": "Pending", "containerStatuses": [starting]}))
    store.put(PODS, obj("nowhere", 1, status={"phase": "Pending", "conditions": [nowhere]}))
    store.put(PODS, obj("leaves", 1, status=ready, metadata={"deletionTimestamp": CREATED}))
    store.put(PODS, obj("finished", 1, status={"phase": "Failed"}))
    pods = {pod.name: pod for pod in fleet_of(store, OWNER, None, CREATED_AT + 60).pods}
    assert set(pods) == {"ready", "crashes", "starts", "nowhere", "leaves"}
    assert pods["ready"].ready
    assert pods["ready"].age_seconds == 60
    assert (pods["crashes"].failing, pods["starts"].failing) == ("CrashLoopBackOff", "")
    assert pods["nowhere"].unschedulable
    assert pods["leaves"].terminating


def test_a_fleet_counts_the_replica_sets_that_want_pods() -> None:
    store = Store()
    for name, replicas in (("old", 0), ("older", 1), ("new", 2)):
        store.put(REPLICASETS, obj(name, 1, spec={"replicas": replicas}))
    deployment = obj("mails-worker", 9, spec={"replicas": 3}, status={"readyReplicas": 2})
    store.put(DEPLOYMENTS, deployment)
    fleet = fleet_of(store, OWNER, deployment, CREATED_AT)
    assert (fleet.replicas, fleet.ready_replicas, fleet.active_replica_sets, fleet.version) == (3, 2, 2, "9")
    assert fleet_of(store, OWNER, None, CREATED_AT).replicas is None


def test_a_pod_of_another_template_than_new_ones_get_is_outdated() -> None:
    def hashed(value: str) -> dict[str, Any]:
        return {"annotations": {"redisqueue.dev/config-hash": value}}

    store = Store()
    for name, value in (("old", "1"), ("new", "2")):
        store.put(PODS, obj(name, 1, metadata={**hashed(value), "uid": name}))
    deployment = obj("mails-worker", 1, spec={"replicas": 2, "template": {"metadata": hashed("2")}})
    fleet = fleet_of(store, OWNER, deployment, CREATED_AT)
    assert {pod.name: pod.outdated for pod in fleet.pods} == {"old": True, "new": False}


def test_a_fleet_knows_the_pods_that_a_shrink_has_marked_and_that_still_run() -> None:
    store, mark = Store(), {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}}
    store.put(PODS, obj("marked", 1, metadata=mark))
    store.put(PODS, obj("leaving", 2, metadata={**mark, "deletionTimestamp": CREATED}))
    store.put(PODS, obj("ended", 3, metadata=mark, status={"phase": "Succeeded"}))
    store.put(PODS, obj("another", 4))
    for deployment in (None, obj("mails-worker", 5)):
        assert fleet_of(store, OWNER, deployment, CREATED_AT).marked == ("marked",)


def refused(message: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": "ReplicaFailure", "status": status, "message": message}]}


def test_a_fleet_says_why_pods_are_not_created() -> None:
    store, deployment = Store(), obj("mails-worker", 1)
    assert fleet_of(store, OWNER, deployment, CREATED_AT).replica_failure == ""
    store.put(REPLICASETS, obj("given-up", 1, spec={"replicas": 0}, status=refused("of another time")))
    store.put(REPLICASETS, obj("well-again", 1, spec={"replicas": 1}, status=refused("long ago", "False")))
    assert fleet_of(store, OWNER, deployment, CREATED_AT).replica_failure == ""
    store.put(REPLICASETS, obj("new", 1, spec={"replicas": 1}, status=refused("exceeded quota")))
    assert fleet_of(store, OWNER, deployment, CREATED_AT).replica_failure == "exceeded quota"
    told = {**deployment, "status": refused("violates PodSecurity")}
    assert fleet_of(Store(), OWNER, told, CREATED_AT).replica_failure == "violates PodSecurity"
    canaries = obj("mails-canary", 1, spec={"replicas": 1}, status=refused("denied by a webhook"))
    assert fleet_of(Store(), OWNER, deployment, CREATED_AT, trial=canaries).replica_failure


def with_canaries() -> tuple[Store, dict[str, Any], dict[str, Any]]:
    """Three workers and a canary, all ready: the store and the two Deployments."""
    store = Store()
    track = {"redisqueue.dev/queue": "mails", "redisqueue.dev/track": "canary"}
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    for name in ("a", "b", "c"):
        store.put(PODS, obj(name, 1, status=ready))
    store.put(PODS, obj("canary", 1, status=ready, metadata={"labels": track}))
    store.put(REPLICASETS, obj("old", 1, spec={"replicas": 3}))
    store.put(REPLICASETS, obj("new", 1, spec={"replicas": 1}, metadata={"labels": track}))
    deployment = obj("mails-worker", 7, spec={"replicas": 3}, status={"readyReplicas": 3})
    trial = obj("mails-canary", 8, spec={"replicas": 1}, status={"readyReplicas": 1})
    return store, deployment, trial


def test_canaries_are_workers_like_the_others() -> None:
    store, deployment, trial = with_canaries()
    fleet = fleet_of(store, OWNER, deployment, CREATED_AT, trial=trial)
    assert (fleet.replicas, fleet.ready_replicas, fleet.active_replica_sets) == (4, 4, 1)
    assert fleet.split == (3, 1)
    assert {pod.name for pod in fleet.pods if pod.canary} == {"canary"}
    assert not any(pod.terminating for pod in fleet.pods)


def test_canaries_that_are_about_to_leave_are_no_capacity() -> None:
    store, deployment, trial = with_canaries()
    promoted = fleet_of(store, OWNER, deployment, CREATED_AT, trial=trial).without_canary()
    deleted = fleet_of(store, OWNER, deployment, CREATED_AT)
    for fleet in (promoted, deleted):
        assert (fleet.replicas, fleet.ready_replicas, fleet.split) == (3, 3, (3, 0))
        assert {pod.name for pod in fleet.pods if pod.terminating} == {"canary"}


def test_a_template_has_rolled_when_all_workers_have_it_and_are_available() -> None:
    done = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": done}
    assert has_rolled(deployment)
    not_yet = [
        {"observedGeneration": 1},
        {"replicas": 4},
        {"updatedReplicas": 2, "replicas": 2},
        {"availableReplicas": 2},
    ]
    for change in not_yet:
        assert not has_rolled({**deployment, "status": {**done, **change}}), change
    asleep = {"metadata": {"generation": 2}, "spec": {"replicas": 0}, "status": {"observedGeneration": 2}}
    assert has_rolled(asleep)


def test_a_pod_that_lost_its_label_is_nobodys_and_both_are_told() -> None:
    store = Store()
    store.put(PODS, obj("pod", 1))
    store.put(PODS, obj("stays", 1))
    assert store.put(PODS, obj("pod", 2, metadata={"labels": {}})) == (OWNER,)
    assert [pod["metadata"]["name"] for pod in store.children(PODS, OWNER)] == ["stays"]
    assert store.put(PODS, obj("stays", 2, metadata={"labels": {QUEUE_LABEL: "other"}})) == (
        Key("shop", "other"),
        OWNER,
    )
    assert list(store.children(PODS, OWNER)) == []
    assert store.drop(PODS, Key("shop", "stays"), 3) == (Key("shop", "other"),)
    assert list(store.children(PODS, Key("shop", "other"))) == []


def test_what_has_ended_does_not_come_back_with_a_late_answer() -> None:
    store = Store()
    store.put(REDISQUEUES, obj("mails", 5))
    store.drop(REDISQUEUES, OWNER, 7)
    assert store.put(REDISQUEUES, obj("mails", 6)) == ()
    assert store.put(REDISQUEUES, obj("mails", 7)) == ()
    assert store.get(REDISQUEUES, OWNER) is None
    assert store.put(REDISQUEUES, obj("mails", 8)) == (OWNER,), "a new one of that name"


def test_a_fleet_says_that_a_rollout_is_overdue() -> None:
    words = 'ReplicaSet "mails-worker-5c" has timed out progressing.'
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": words}
    well = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "done"}
    for conditions, expected in (([late], words), ([well], ""), ([], "")):
        deployment = obj("mails-worker", 1, status={"conditions": conditions})
        assert fleet_of(Store(), OWNER, deployment, CREATED_AT).overdue == expected
    canaries = obj("mails-canary", 1, spec={"replicas": 1}, status={"conditions": [late]})
    assert fleet_of(Store(), OWNER, obj("mails-worker", 1), CREATED_AT, trial=canaries).overdue == words


def test_what_all_objects_say_is_in_memory_once() -> None:
    store = Store()
    for name in ("one", "two"):
        answer = json.dumps(obj(name, 5, spec={"strategy": [{"type": "RollingUpdate, slowly"}]}))
        store.put(DEPLOYMENTS, json.loads(answer))
    one, two = store.all(DEPLOYMENTS)
    assert one["spec"]["strategy"][0]["type"] is two["spec"]["strategy"][0]["type"]
    assert {id(key) for key in one["metadata"]} == {id(key) for key in two["metadata"]}
    assert one["spec"] is two["spec"], "the whole of what both say"
    assert "managedFields" not in one["metadata"]


def test_what_looks_alike_stays_what_it_is() -> None:
    store = Store()
    for name, value in (("one", True), ("two", 1), ("three", 1.0), ("four", "1")):
        store.put(DEPLOYMENTS, obj(name, 5, spec={"a": {"b": [value]}, "c": [{}, [], None]}))
    kept = [each["spec"] for each in store.all(DEPLOYMENTS)]
    assert [repr(spec) for spec in kept] == [
        f"{{'a': {{'b': [{value}]}}, 'c': [{{}}, [], None]}}" for value in ("True", "1", "1.0", "'1'")
    ]


def test_what_a_newer_version_leaves_as_it_was_is_the_part_that_is_kept() -> None:
    store, key = Store(), Key("shop", "mails-worker")
    spec = {"replicas": 0, "template": {"containers": [{"name": "worker", "env": []}]}}
    for version, replicas in ((1, 0), (2, 5)):
        answer = json.dumps(obj(key.name, version, spec=spec | {"replicas": replicas}))
        before, _ = store.get(DEPLOYMENTS, key), store.put(DEPLOYMENTS, json.loads(answer))
    now = store.get(DEPLOYMENTS, key)
    assert before is not None
    assert now is not None
    assert now["spec"] == spec | {"replicas": 5}
    assert now["spec"]["template"] is before["spec"]["template"]
    assert now["metadata"]["labels"] is before["metadata"]["labels"]
    assert (before["spec"]["replicas"], before["metadata"]["resourceVersion"]) == (0, "1"), (
        "which is not touched"
    )


def test_a_spec_that_changes_from_1_to_true_has_changed() -> None:
    store, key = Store(), Key("shop", "mails")
    for generation, value in enumerate((1, True, 1.0), 1):
        metadata = {"generation": generation}
        store.put(REDISQUEUES, obj(key.name, generation, metadata=metadata, spec={"template": {"a": value}}))
        found = store.get(REDISQUEUES, key)
        assert found is not None
        assert repr(found["spec"]) == f"{{'template': {{'a': {value!r}}}}}"


@pytest.mark.parametrize(
    ("entries", "owned"),
    [
        ([("redisqueue-operator", "Apply", {"f:spec": {"f:replicas": {}}})], True),
        ([("redisqueue-operator", "Apply", {"f:spec": {"f:paused": {}}})], False),
        ([("redisqueue-operator-scale", "Update", {"f:spec": {"f:replicas": {}}})], False),
        (
            [("redisqueue-operator", "Apply", {}), ("kubectl", "Update", {"f:spec": {"f:replicas": {}}})],
            False,
        ),
    ],
)
def test_a_number_is_as_created_until_somebody_sets_it(
    entries: list[tuple[str, str, dict[str, Any]]], owned: bool
) -> None:
    store, key = Store(), Key("shop", "mails-worker")
    managed = [dict(zip(("manager", "operation", "fieldsV1"), each, strict=True)) for each in entries]
    store.put(DEPLOYMENTS, obj(key.name, 1, metadata={"managedFields": managed}))
    found = store.get(DEPLOYMENTS, key)
    assert found is not None
    assert owns_replicas(found) is owned
    store.put(DEPLOYMENTS, {**found, "metadata": {**found["metadata"], "resourceVersion": "2"}})
    scaled = store.get(DEPLOYMENTS, key)
    assert scaled is not None
    assert not owns_replicas(scaled)


def test_what_no_object_says_any_more_is_forgotten() -> None:
    store = Store()

    def updates(versions: range) -> int:
        for version in versions:
            store.put(
                DEPLOYMENTS, obj("one", version, status={"message": f"a text of version {version} alone"})
            )
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = updates(range(1, 10_000))
        assert updates(range(10_000, 30_000)) - before < 1_000_000
    finally:
        tracemalloc.stop()
