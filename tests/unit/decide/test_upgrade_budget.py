"""A newer operator with another template rolls a few Deployments at a time."""

from __future__ import annotations

from typing import Any

from redisqueue_operator.decide.upgrade_budget import MOST_AT_ONCE, is_rolling, is_upgrade, must_wait, rolling


def deployment(name: str = "live", **given: Any) -> dict[str, Any]:
    """A settled Deployment that version 1 wrote."""
    fields: dict[str, Any] = {"version": "1.0.0", "hash": "old", "reason": ""}
    fields |= {"replicas": 3, "updated": 3, "total": 3, "seen": 1, **given}
    return {
        "metadata": {
            "uid": name,
            "generation": 1,
            "annotations": {"redisqueue.dev/operator-version": fields["version"]},
        },
        "spec": {
            "replicas": fields["replicas"],
            "template": {"metadata": {"annotations": {"redisqueue.dev/config-hash": fields["hash"]}}},
        },
        "status": {
            "observedGeneration": fields["seen"],
            "updatedReplicas": fields["updated"],
            "replicas": fields["total"],
            "conditions": [{"type": "Progressing", "reason": fields["reason"]}],
        },
    }


WANTED = deployment(version="2.0.0", hash="new")
BUSY = [deployment(f"busy {number}", version="2.0.0", updated=1) for number in range(MOST_AT_ONCE)]


def test_a_settled_one_does_not_roll_and_each_sign_of_a_rollout_does() -> None:
    assert not is_rolling(deployment())
    assert is_rolling(deployment(updated=1))
    assert is_rolling(deployment(total=4)), "an old pod is still there"
    assert is_rolling(deployment(seen=0)), "the controller has not seen it yet"
    assert not is_rolling(deployment(replicas=0, seen=0)), "there is nothing to roll"
    assert is_rolling({**deployment(), "status": {}})


def test_one_that_does_not_get_on_is_not_waited_for_for_ever() -> None:
    assert not is_rolling(deployment(updated=1, reason="ProgressDeadlineExceeded"))


def test_an_upgrade_waits_while_five_others_roll() -> None:
    assert must_wait(rolling("2.0.0", BUSY), 0)
    assert not must_wait(rolling("2.0.0", BUSY[1:]), 0)
    assert must_wait(rolling("2.0.0", BUSY[2:]), 2), "two that begin just now count too"


def test_what_the_older_operator_left_rolling_does_not_count() -> None:
    older = [deployment(f"older {number}", updated=1) for number in range(9)]
    assert not must_wait(rolling("2.0.0", [*older, *BUSY[1:]]), 0)


def test_an_upgrade_waits_until_all_deployments_are_known() -> None:
    assert must_wait(None, 0)


def test_only_pods_that_another_operator_replaces_wait() -> None:
    assert is_upgrade(deployment(), WANTED)
    assert not is_upgrade(deployment(hash="new"), WANTED), "the template is the same"
    assert not is_upgrade(deployment(replicas=0), WANTED), "it has no pods"
    assert not is_upgrade(deployment(version="2.0.0"), WANTED), "people changed it"
