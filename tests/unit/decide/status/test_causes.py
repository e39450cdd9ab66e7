"""What a pod says of itself becomes the words of a condition, an Event and `explain`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.observations import once, queue, seen
from tests.support.resources import redis_queue

from redisqueue_operator.api import definition, structure
from redisqueue_operator.decide.canary import Phase, Rollout
from redisqueue_operator.decide.scaling import Policy, explain
from redisqueue_operator.decide.status import build_status, events_between
from redisqueue_operator.observe.facts import ApplyOutcome, PodObservation
from redisqueue_operator.observe.pods import pod_of

REFUSED = "REDISQUEUE_HANDLER (--handler): no module named 'tasks'"


def waits(reason: str, message: str = "", /, **ended: Any) -> dict[str, Any]:
    container = {"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}}
    if ended:
        container["lastState"] = {"terminated": ended}
    return {"containerStatuses": [container]}


def runs(container: dict[str, Any], /, **ended: Any) -> dict[str, Any]:
    state = {"running": {"startedAt": "2026-01-01T00:00:01Z"}}
    return {"containerStatuses": [{"state": state, "lastState": {"terminated": ended}, **container}]}


def no_room(message: str) -> dict[str, Any]:
    why = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"conditions": [why]}


CAUSES: dict[str, tuple[dict[str, Any], str]] = {
    "a missing image": (
        waits("ErrImagePull", "failed to pull and unpack image: registry.example/x:2: not found"),
        "registry.example/x:2: not found",
    ),
    "a missing Secret": (
        waits("CreateContainerConfigError", 'secret "mail" not found'),
        'secret "mail" not found',
    ),
    "a refusal of the worker": (
        waits(
            "CrashLoopBackOff",
            "back-off 10s restarting failed container=worker pod=q-1_default(0af2)",
            reason="Error",
            exitCode=2,
            message=REFUSED,
        ),
        f"CrashLoopBackOff: Error, exit code 2: {REFUSED}",
    ),
    "a first crash that is over": (
        runs({"started": False}, reason="Error", exitCode=2, message=REFUSED),
        f"Crashed: Error, exit code 2: {REFUSED}",
    ),
    "a first crash of this moment": (
        {
            "containerStatuses": [
                {"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}, "started": False}
            ]
        },
        "Crashed: OOMKilled, exit code 137",
    ),
    "an init container that crashed": (
        {"initContainerStatuses": runs({}, reason="Error", exitCode=1)["containerStatuses"]},
        "Crashed: Error, exit code 1",
    ),
    "no memory": (
        waits("CrashLoopBackOff", "back-off 10s", reason="OOMKilled", exitCode=137),
        "CrashLoopBackOff: OOMKilled, exit code 137",
    ),
    "an init container": (
        {"initContainerStatuses": waits("RunContainerError", "exec: no such file")["containerStatuses"]},
        "RunContainerError: exec: no such file",
    ),
    "a node selector": (
        no_room("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
        "3 node(s) didn't match Pod's node affinity/selector.",
    ),
    "a missing claim": (
        no_room('0/1 nodes are available: persistentvolumeclaim "models" not found.'),
        'persistentvolumeclaim "models" not found',
    ),
}


def observed(status: dict[str, Any]) -> PodObservation:
    metadata = {"name": "q-1", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    _, pod = pod_of({"metadata": metadata, "status": {"phase": "Pending", **status}})
    assert pod is not None
    return pod


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_told_in_the_clusters_words(case: str) -> None:
    status, words = CAUSES[case]
    observation = seen(queue(3), [observed(status)])
    decision, rq = once(observation), redis_queue()
    written = build_status(rq, observation, decision, ApplyOutcome(True, "Applied", ""), {}, 0.0)
    said = {each["type"]: each for each in written["conditions"]}
    assert said["Ready"]["status"] == "False"
    assert words in said["Ready"]["message"]
    assert words in " ".join(event.message for event in events_between({}, written))
    assert words in "\n".join(explain(decision, observation, Policy.of(rq.spec)))


WELL = {
    "one that has started again": runs({"started": True}, reason="Error", exitCode=1),
    "one that is ready again": runs({"ready": True}, reason="OOMKilled", exitCode=137),
    "one that ended as it should": runs({"started": False}, reason="Completed", exitCode=0),
    "an init container that did its work at last": {
        "initContainerStatuses": [
            {
                "state": {"terminated": {"reason": "Completed", "exitCode": 0}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
            }
        ]
    },
}


@pytest.mark.parametrize("case", WELL)
def test_a_crash_that_is_over_is_no_cause(case: str) -> None:
    assert observed(WELL[case]).failing == ""


def test_pods_of_one_cause_tell_it_once() -> None:
    status, words = CAUSES["a missing Secret"]
    observation = seen(queue(3), [observed(status)] * 3)
    decision = once(observation)
    said = "\n".join(explain(decision, observation, Policy()))
    assert said.count(words) == 1


def test_a_refusal_to_create_pods_is_told_once_beside_what_it_holds() -> None:
    words = 'pods "jobs-worker-5c" is forbidden: exceeded quota: small'
    observation = seen(queue(50), replicas=1, replica_failure=words)
    decision = once(observation)
    said = explain(decision, observation, Policy())
    assert [line for line in said if words in line] == [f"pods cannot be created: {words}"]
    assert "held back: the cluster refuses to create pods" in said


def test_a_cause_is_one_line_of_bounded_length() -> None:
    pod = observed(waits("RunContainerError", "a\n\tb " * 5000))
    assert len(pod.words) <= 1000
    assert "\n" not in pod.words


def test_however_much_the_cluster_says_the_status_can_be_written() -> None:
    """A refusal names each wrong line of a template, a webhook each of its policies."""
    words = "spec.template.spec.containers[0].env[7].name: Invalid value; " * 1000
    observation = seen(queue(1), replicas=1, replica_failure=words)
    refused = ApplyOutcome(ok=False, reason="ApplyRefused", message=words)
    trial = Rollout(Phase.CANARY, "new", "old", 0, "NotReady", f"no worker of it is ready: {words}")
    status = build_status(redis_queue(), observation, once(observation), refused, {}, 0.0, trial)
    schema = definition.schema()["properties"]["status"]
    assert not list(structure.check(status, schema, "status"))
    assert words[:1000] in next(each for each in status["conditions"] if each["type"] == "Ready")["message"]
