"""What no watch tells of: which children are to be made again, and which snapshots may go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from redisqueue_operator.companions import KEEP_SECONDS, companion_of, covers, intact, snapshots_in, unused

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


def test_a_child_that_is_gone_replaced_or_changed_is_made_again() -> None:
    budget = companion_of("PodDisruptionBudget", obj("mails-worker", generation=1))
    for listed, expected in (
        (budget, True),
        (companion_of("PodDisruptionBudget", obj("mails-worker", "2", generation=1)), False),
        (companion_of("PodDisruptionBudget", obj("mails-worker", generation=2)), False),
        (companion_of("ConfigMap", obj("mails-worker", generation=1)), False),
    ):
        assert intact([budget], {listed.name: listed}) is expected
    assert not intact([budget], {})
    assert intact([], {})


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
