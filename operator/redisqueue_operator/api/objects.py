"""What any object of Kubernetes has: labels, annotations and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Verdict = tuple[bool | str, str, str]
"""Of a condition: its status, reason and message."""
QUEUE_LABEL = "redisqueue.dev/queue"
"""By which the children of a RedisQueue are found: nobody else writes a label of our domain."""
LONGEST_MESSAGE = 32_768
"""Characters of a condition's message: a status with a longer one is refused as a whole."""
OVERDUE = "ProgressDeadlineExceeded"
"""The reason of a Deployment's condition Progressing when its pods do not get ready in time."""


def annotation_of(obj: Mapping[str, Any] | None, name: str) -> str:
    """The annotation of that name; empty without one."""
    metadata = (obj or {}).get("metadata") or {}
    return str((metadata.get("annotations") or {}).get(name, ""))


def conditions_of(status: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The conditions of a status, by type."""
    return {each["type"]: each for each in (status or {}).get("conditions") or ()}


def dated(
    verdicts: Mapping[str, Verdict | None],
    generation: int,
    previous: Mapping[str, Any] | None,
    now: str,
) -> Iterator[dict[str, Any]]:
    """Conditions, from verdicts by type: each with the time since when it has its status.

    `previous` is the status before, `now` an RFC 3339 time. A verdict of None leaves a condition as it was.
    """
    before = conditions_of(previous)
    for kind, verdict in verdicts.items():
        if verdict is None:
            yield before[kind]
            continue
        (holds, reason, message), last = verdict, before.get(kind, {})
        status = str(holds)
        yield {
            "type": kind,
            "status": status,
            "observedGeneration": generation,
            "lastTransitionTime": last["lastTransitionTime"] if last.get("status") == status else now,
            "reason": reason,
            "message": message[:LONGEST_MESSAGE],
        }
