"""The user's pod template over the generated one, with the rules of `kubectl patch`."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from redisqueue_operator.decide.children.merge import merged

BASE: dict[str, Any] = {
    "securityContext": {"runAsUser": 65532, "runAsNonRoot": True},
    "containers": [
        {
            "name": "worker",
            "image": "a",
            "command": ["x", "y"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "ports": [{"containerPort": 8080, "name": "http"}],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def container(patch: dict[str, Any]) -> dict[str, Any]:
    """The worker container after a patch of it."""
    result: dict[str, Any] = merged(BASE, {"containers": [{"name": "worker", **patch}]})["containers"][0]
    return result


@pytest.mark.parametrize("patch", [{}, {"containers": []}, {"securityContext": {}}])
def test_nothing_changes_nothing(patch: dict[str, Any]) -> None:
    assert merged(BASE, patch) == BASE


def test_maps_are_merged_and_null_removes() -> None:
    patch = {"securityContext": {"runAsUser": None, "fsGroup": 1}}
    assert merged(BASE, patch)["securityContext"] == {"runAsNonRoot": True, "fsGroup": 1}


def test_containers_are_merged_by_name_and_new_ones_added() -> None:
    names = [item["name"] for item in merged(BASE, {"containers": [{"name": "side"}]})["containers"]]
    assert names == ["worker", "side"]
    assert container({"image": "b"}) == {**BASE["containers"][0], "image": "b"}


def test_a_variable_is_replaced_as_a_whole() -> None:
    patched = container({"env": [{"name": "B", "valueFrom": {"fieldRef": {}}}, {"name": "C", "value": "3"}]})
    assert patched["env"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"fieldRef": {}}},
        {"name": "C", "value": "3"},
    ]


def test_a_volume_is_replaced_as_a_whole() -> None:
    patched = merged(BASE, {"volumes": [{"name": "tmp", "hostPath": {"path": "/scratch"}}]})
    assert patched["volumes"] == [{"name": "tmp", "hostPath": {"path": "/scratch"}}]


def test_lists_without_a_key_are_replaced() -> None:
    assert container({"command": ["z"]})["command"] == ["z"]


def test_an_entry_is_removed_on_demand() -> None:
    assert container({"env": [{"name": "A", "$patch": "delete"}]})["env"] == [{"name": "B", "value": "2"}]


def test_what_is_removed_where_there_is_nothing_leaves_no_trace() -> None:
    entries = [{"containerPort": 9, "$patch": "delete"}, {"containerPort": 8, "protocol": None}]
    side = {"name": "side", "ports": entries, "resources": {"limits": None}}
    patched = merged(BASE, {"containers": [side]})["containers"][1]
    assert patched == {"name": "side", "ports": [{"containerPort": 8}], "resources": {}}


def test_neither_side_is_changed() -> None:
    patch = {"containers": [{"name": "worker", "env": [{"name": "A", "value": "9"}]}]}
    before = copy.deepcopy((BASE, patch))
    merged(BASE, patch)["containers"][0]["env"].clear()
    assert (BASE, patch) == before
