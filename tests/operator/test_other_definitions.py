"""Objects that definitions of another release let pass: what cannot be read is told, and stops nothing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import budget, redis_queue, redrive, schedule

from redisqueue_operator.api.definition import definition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api_server import ApiServer

WORDS = {
    "RedisQueue": ("scaling.mode", "Chosen"),
    "RedisQueueRedrive": ("from", "Archive"),
    "RedisQueueBudget": ("selector.matchExpressions.operator", "Gt"),
    "RedisQueueSchedule": ("missedTicks", "Some"),
}
"""Of each kind a field, and what it may say besides."""


def others() -> Iterator[dict[str, Any]]:
    """The definitions, with a word more for a field of each."""
    for kind, (path, word) in WORDS.items():
        made = copy.deepcopy(definition(kind))
        part = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for name in path.split("."):
            part = part.get("items", part)["properties"][name]
        part["enum"].append(word)
        yield made


def reason(cluster: Cluster, kind: str, name: str) -> str:
    """Of the condition Ready."""
    conditions = ((cluster.get(kind, name) or {}).get("status") or {}).get("conditions") or ()
    return next((each["reason"] for each in conditions if each["type"] == "Ready"), "")


def test_a_spec_that_cannot_be_read_is_told_by_each_kind(empty_api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(empty_api_server)
    cluster.define(*others())
    selector = {"matchExpressions": [{"key": "team", "operator": "Gt"}]}
    odd = {
        "rq": redis_queue(scaling={"mode": "Chosen"}),
        "rqr": redrive(**{"from": "Archive"}),
        "rqb": budget(selector=selector),
        "rqs": schedule(missedTicks="Some"),
    }
    good = redrive(queueRef={"name": "absent"})
    good["metadata"]["name"] = "good"
    cluster.apply(*odd.values(), good)
    with OperatorProcess(empty_api_server, tmp_path / "log") as process:
        until(lambda: reason(cluster, "rqr", "good") == "QueueMissing", "the others go on")
        for kind, obj in odd.items():
            name, is_of = obj["metadata"]["name"], obj["kind"]
            until(
                lambda kind=kind, name=name: reason(cluster, kind, name) == "InvalidSpec", f"{kind} says so"
            )  # type: ignore[misc]
            word = WORDS[is_of][1]
            told = lambda name=name, is_of=is_of: cluster.events(name, kind=is_of).get("InvalidSpec", "")  # noqa: E731
            assert word in until(told, f"an Event of {kind}")
        status = (cluster.get("rqr", "again") or {})["status"]
        assert status["phase"] == "Pending"
        assert {each["type"] for each in status["conditions"] if each["status"] == "True"} == {"Stalled"}
        assert "redisqueue_redrives" in process.read("/metrics"), "they are counted all the same"
