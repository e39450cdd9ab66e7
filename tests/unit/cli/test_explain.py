"""What `redisqueue explain` makes of a status, where no operator can be asked."""

from __future__ import annotations

import pytest

from redisqueue_operator.cli.commands.cluster.explain import recorded


@pytest.mark.parametrize(
    ("reason", "blocked_by", "lines"),
    [
        ("Budget", "", ["2026-01-01T00:00:00Z: from 1 to 3 workers: Budget shop"]),
        (
            "BacklogPerSlot",
            "Budget",
            ["2026-01-01T00:00:00Z: from 1 to 3 workers: BacklogPerSlot", "held back by Budget shop"],
        ),
    ],
)
def test_a_budget_is_named(reason: str, blocked_by: str, lines: list[str]) -> None:
    decision = {"at": "2026-01-01T00:00:00Z", "from": 1, "to": 3, "reason": reason, "budget": "shop"}
    assert list(recorded({"decision": {**decision, "blockedBy": blocked_by}})) == lines


def test_a_budget_of_a_status_of_before_has_no_name() -> None:
    decision = {"at": "2026-01-01T00:00:00Z", "from": 1, "to": 3, "reason": "Budget"}
    assert list(recorded({"decision": decision})) == ["2026-01-01T00:00:00Z: from 1 to 3 workers: Budget"]
