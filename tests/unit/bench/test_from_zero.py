"""What the bench from zero makes of its marks."""

from __future__ import annotations

import pytest
from tests.bench.from_zero import _mark_of
from tests.bench.from_zero_report import MARKS, markdown, parts


def test_each_part_ends_with_its_mark_and_together_they_are_the_whole() -> None:
    marks = {name: 100.0 + 0.1 * number for number, name in enumerate(MARKS, 1)}
    found = parts(100.0, marks)
    assert list(found) == list(MARKS)
    assert all(part == pytest.approx(0.1) for part in found.values())


def test_late_news_make_no_part_negative() -> None:
    marks = {name: 100.0 + 0.1 * number for number, name in enumerate(MARKS, 1)}
    found = parts(100.0, {**marks, "scheduled": marks["sandbox"] + 0.05})
    assert found["scheduled"] == pytest.approx(0.2)
    assert found["sandbox"] == pytest.approx(0)
    assert sum(found.values()) == pytest.approx(0.1 * len(MARKS))


def test_a_round_without_a_mark_is_none() -> None:
    with pytest.raises(KeyError, match="python"):
        parts(0.0, {name: 1.0 for name in MARKS if name != "python"})


def test_what_the_api_tells_is_a_mark_where_it_shows_one() -> None:
    event = {"involvedObject": {"fieldPath": "spec.containers{worker}"}, "reason": "Started"}
    assert _mark_of(event) == "started"
    assert _mark_of({**event, "involvedObject": {"fieldPath": "spec.containers{sidecar}"}}) is None
    assert _mark_of({**event, "involvedObject": {}}) is None, "of the pod"
    assert _mark_of({"spec": {"replicas": 0}}) is None
    assert _mark_of({"spec": {"replicas": 1}}) == "scaled"
    assert _mark_of({"spec": {}}) == "created"
    assert _mark_of({"spec": {"nodeName": "a"}, "status": {}}) == "scheduled"
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert _mark_of({"spec": {"nodeName": "a"}, "status": ready}) == "ready"


def test_variants_have_a_table_each() -> None:
    def rounds(variant: str, seconds: float) -> dict[str, object]:
        return {"variant": variant, "parts": dict.fromkeys(MARKS, seconds), "ready": 2.0}

    table = markdown([rounds("plain", 0.1), rounds("other", 0.2), rounds("plain", 0.3)])
    plain, other = table.split("\n\n")
    assert "| plain: 2 rounds |" in plain
    assert "| other: 1 rounds |" in other
    assert "| **message → handler** |  | 1800 | 1800 | 100% |" in other
