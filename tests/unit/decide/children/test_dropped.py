"""Which fields of a manifest are not in the server's answer."""

from __future__ import annotations

from typing import Any

import pytest

from redisqueue_operator.decide.children.drift import dropped_from, outcome_of


@pytest.mark.parametrize(
    ("live", "wanted", "dropped"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, []),
        ({"cpu": "500m"}, {"cpu": 0.5}, []),
        ({}, {"a": {}, "b": [], "c": False, "d": 0, "e": "", "f": None}, []),
        ({"spec": {}}, {"spec": {"hostnameOverride": "x"}}, ["spec.hostnameOverride"]),
        (
            {"volumes": [{"name": "other"}, {"name": "models", "emptyDir": {}}]},
            {"volumes": [{"name": "models", "image": {"reference": "r"}}]},
            ["volumes[models].image"],
        ),
        (
            {"containers": [{"name": "worker", "restartPolicy": "Never"}]},
            {"containers": [{"name": "worker", "restartPolicyRules": [{"action": "Restart"}]}]},
            ["containers[worker].restartPolicyRules"],
        ),
        ({"args": ["a", "b"]}, {"args": ["a", "b"]}, []),
        ({"rules": [{"a": 1}]}, {"rules": [{"a": 1, "b": 2}, {"c": 3}]}, ["rules[0].b", "rules[1]"]),
    ],
)
def test_what_is_lost(live: Any, wanted: Any, dropped: list[str]) -> None:
    assert list(dropped_from(live, wanted)) == dropped


def test_many_are_counted() -> None:
    outcome = outcome_of([f"field{number}" for number in range(12)], "")
    assert outcome.reason == "FieldsDropped"
    assert "field9 and 2 more" in outcome.message
    assert outcome_of([], "well").message == "well"
