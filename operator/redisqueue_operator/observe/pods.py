"""A pod as it matters here: what it is, whether it works, and if not why, in the cluster's words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from redisqueue_operator.api.objects import annotation_of, conditions_of
from redisqueue_operator.decide.children.identity import CONFIG_HASH, PROTECTED, TRACK
from redisqueue_operator.observe.compact import shared
from redisqueue_operator.observe.facts import CRASHED, PodObservation
from redisqueue_worker.identity import read_words

Object = dict[str, Any]

MOST_WORDS = 1000
"""Characters of a cause: every pod of a fleet has one in memory."""
# What a container waits for when it does not get better by waiting a moment.
_HARMLESS = {"", "ContainerCreating", "PodInitializing"}


def is_canary(obj: Object) -> bool:
    """Whether a pod or ReplicaSet has a template that is on trial."""
    return TRACK in (obj["metadata"].get("labels") or {})


def pod_of(pod: Object) -> tuple[float, PodObservation | None]:
    """When it was made (wall time), and the pod without its age; None when it has ended."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
    if (status.get("phase") or "Pending") not in ("Pending", "Running"):
        return created, None
    conditions = conditions_of(status)
    scheduled = conditions.get("PodScheduled") or {}
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    failing, words = _failing(status)
    seen = PodObservation(
        name=metadata["name"],
        uid=metadata["uid"],
        ready=(conditions.get("Ready") or {}).get("status") == "True",
        terminating=bool(metadata.get("deletionTimestamp")),
        age_seconds=0.0,
        unschedulable=unschedulable,
        failing=failing,
        canary=is_canary(pod),
        words=_one_line(scheduled.get("message")) if unschedulable else words,
        template=shared(annotation_of(pod, CONFIG_HASH)),
        protected=bool(annotation_of(pod, PROTECTED)),
    )
    return created, seen


def _failing(status: Object) -> tuple[str, str]:
    """The word for what keeps the first such container from working, and the cause in the cluster's words."""
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, crash = str(waiting.get("reason") or ""), _crash(container)
        if reason in _HARMLESS:
            if crash is not None:
                return CRASHED, _last_words(crash)
            continue
        if reason == "CrashLoopBackOff" and crash is not None:
            return reason, _last_words(crash)
        return reason, _one_line(waiting.get("message"))
    return "", ""


def _crash(container: Object) -> Object | None:
    """How it ended last, if that was no success, and it has not started again since then.

    The kubelet restarts at once after a first crash: only from the second on it says that it waits.
    """
    state, last = container.get("state") or {}, container.get("lastState") or {}
    ended: Object | None = state.get("terminated") or last.get("terminated")
    if not ended or container.get("started") or container.get("ready"):
        return None
    backs_off = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
    return ended if ended.get("exitCode") or backs_off else None


def _last_words(ended: Object) -> str:
    """How a container ended, and what it said of it in its termination message."""
    how = f"{ended.get('reason') or 'Error'}, exit code {ended.get('exitCode')}"
    said = _one_line(read_words(str(ended.get("message") or ""))[1])
    return f"{how}: {said}" if said else how


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split())[:MOST_WORDS]
