"""What no watch tells of: which children are to be made again, and which snapshots may go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from redisqueue_operator.decide.children.drift import (
    KEEP_SECONDS,
    covers,
    is_as_wanted,
    owners_to_be,
    selects,
    snapshots_in,
    unused,
)
from redisqueue_operator.decide.children.identity import MANAGED_BY

CREATED = 1_800_000_000.0
LATER = CREATED + KEEP_SECONDS + 1


def obj(name: str, uid: str = "1", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "uid": uid, **metadata}}


def snapshot(name: str, **more: Any) -> dict[str, Any]:
    made = datetime.fromtimestamp(CREATED, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    annotations = {"redisqueue.dev/owner-uid": "u"}
    return obj(name, **{"creationTimestamp": made, "annotations": annotations, **more})


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["metadata"]["name"] for each in found]


def budget(**changes: Any) -> dict[str, Any]:
    """A child as it was applied, with changes to its metadata."""
    owner = {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue", "name": "mails", "uid": "u"}
    metadata = {"labels": {MANAGED_BY: "redisqueue-operator", "a": "b"}, "ownerReferences": [owner]}
    return {**obj("mails-worker", **{**metadata, **changes}), "spec": {"maxUnavailable": 1}}


def test_whose_a_child_is_shall_be_exactly_as_wanted_and_other_owners_stay() -> None:
    (owner,) = budget()["metadata"]["ownerReferences"]
    other = {"apiVersion": "example.org/v1", "kind": "Team", "name": "shop", "uid": "t"}
    older = {**owner, "uid": "older"}
    assert is_as_wanted(budget(), budget(), "metadata", "spec")
    for owners, wanted, result in (
        ([owner], [], []),
        ([], [owner], [owner]),
        ([other, owner], [owner], None),
        ([other, owner], [], [other]),
        ([older], [owner], [owner]),
        ([owner, older], [owner], [owner]),
        ([], [], None),
    ):
        live = budget(ownerReferences=owners)
        assert owners_to_be(live, wanted) == result
        assert is_as_wanted(live, budget(ownerReferences=wanted), "metadata") is (result is None)


def test_a_label_that_others_rewrite_is_no_reason_to_write_and_one_of_ours_is() -> None:
    assert is_as_wanted(budget(labels={MANAGED_BY: "Helm", "a": "b"}), budget(), "metadata")
    assert not is_as_wanted(budget(labels={MANAGED_BY: "redisqueue-operator"}), budget(), "metadata")
    assert not is_as_wanted(None, budget(), "metadata")


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"requests": {"cpu": "1500m"}}, {"requests": {"cpu": 1.5}}, True),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, True),
        ({"limits": {"memory": "1G"}}, {"limits": {"memory": "1Gi"}}, False),
        ({"limits": {}}, {"limits": {"cpu": 1}}, False),
        ({"emptyDir": {"sizeLimit": "1Mi"}}, {"emptyDir": {"sizeLimit": "1024Ki"}}, True),
        ({"value": "1000m"}, {"value": "1"}, False),
        ({}, {"readOnly": False, "args": [], "resources": {}}, True),
        ({}, {"automountServiceAccountToken": False}, False),
        ({"paused": True}, {"paused": False}, False),
    ],
)
def test_what_the_server_writes_in_its_own_way_is_the_same(live: Any, wanted: Any, same: bool) -> None:
    assert covers(live, wanted) is same


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ({"matchLabels": {"app": "mails"}}, True),
        ({"matchLabels": {"app": "mails", "tier": "x"}}, False),
        ({}, True),
        (None, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "mails"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["mails"]}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        (
            {"matchLabels": {"app": "mails"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]},
            False,
        ),
    ],
)
def test_a_budget_selects_pods_as_the_api_server_does(selector: Any, selected: bool) -> None:
    assert selects(selector, {"app": "mails"}) is selected


def test_a_snapshot_that_nothing_mounts_goes_after_a_while() -> None:
    found = [snapshot("mails-handler-a"), snapshot("mails-handler-b")]
    assert names(unused(found, "mails", {"mails-handler-b"}, LATER)) == ["mails-handler-a"]
    assert unused(found, "mails", set(), LATER - 2) == []


def test_what_is_no_snapshot_of_ours_stays_whatever_its_labels_say() -> None:
    found = [snapshot("mails-settings"), snapshot("mails-handler-a", annotations={})]
    assert unused(found, "mails", set(), LATER) == []


def test_a_manifest_is_covered_by_an_object_that_has_more() -> None:
    wanted = {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1, "note": ""}]}}
    live = {
        "metadata": {"name": "a", "uid": "1"},
        "spec": {"ports": [{"port": 1, "name": "b"}]},
        "status": {},
    }
    assert covers(live, wanted)


@pytest.mark.parametrize(
    "live",
    [
        None,
        {},
        {"spec": {"ports": [{"port": 2}]}},
        {"spec": {"ports": [{"port": 1}, {"port": 2}]}},
        {"spec": {"ports": []}},
        {"spec": {"ports": {"port": 1}}},
    ],
)
def test_a_manifest_is_not_covered_by_what_differs(live: Any) -> None:
    assert not covers(live, {"spec": {"ports": [{"port": 1}]}})


def test_an_empty_text_that_is_written_otherwise_differs() -> None:
    assert not covers({"value": "x"}, {"value": ""})


def test_the_names_that_a_pod_mounts() -> None:
    volumes = [{"name": "handler", "configMap": {"name": "mails-handler-a"}}, {"name": "tmp", "emptyDir": {}}]
    assert snapshots_in({"volumes": volumes}) == {"mails-handler-a"}
    assert snapshots_in({}) == set()
