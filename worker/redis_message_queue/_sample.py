"""Samples of a queue as pure calls and plain data."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ReadOnlyError

from redis_message_queue._core import Call, Text, as_text, milliseconds
from redis_message_queue._scripts import script
from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.keys import QueueKeys

WORKER_EXPIRY_MS = 60_000


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one worker said about itself; the times are the server's."""

    id: str
    protocol: int
    pod_uid: str
    owner_uid: str
    slots: int
    busy: int
    oldest_start_ms: int | None
    draining: bool
    config_hash: str
    updated_ms: int
    retired: bool
    tripped: bool = False


@dataclass(frozen=True, slots=True)
class VersionOutcomes:
    """What became of the messages that workers of one configuration had, as far back as Redis remembers.

    Attributes:
        done: handlers that returned.
        failed: handlers that raised, timed out or died; what they asked for (a retry, a dead letter) is none.
        dead_letters: messages given up, for whatever reason.
        updated_ms: when a worker of it was last heard of; None when only its outcomes are known.
    """

    config_hash: str
    done: int = 0
    failed: int = 0
    dead_letters: int = 0
    updated_ms: int | None = None


@dataclass(frozen=True, slots=True)
class QueueSample:
    """The numbers of one queue at the server's `time_ms`.

    `next_due_seconds` and `next_expiry_seconds` are 0 for what is due or expired already, None without any.
    `claims_total` is None when no leased claim was ever made. `workers` are those heard of in the last 60 s,
    `versions` the configurations of workers in the last day.
    """

    pending: int
    in_flight: int
    expired: int
    processing: int
    completed: int
    failed: int
    dead_letter: int
    delayed: int
    delayed_due: int
    next_due_seconds: float | None
    next_expiry_seconds: float | None
    claims_total: int | None
    time_ms: int
    workers: tuple[WorkerState, ...]
    versions: tuple[VersionOutcomes, ...] = ()

    @property
    def orphaned(self) -> int:
        """Messages in processing that have no lease: nothing will ever reclaim them."""
        return max(0, self.processing - self.in_flight)


def sample_call(keys: QueueKeys) -> Call[QueueSample]:
    """Read all numbers of one queue."""
    names = (
        keys.pending,
        keys.processing,
        keys.completed,
        keys.failed,
        keys.dead_letter,
        keys.lease_deadlines,
        keys.lease_token_counter,
        keys.delayed,
        keys.workers,
        keys.versions,
    )
    return Call(script("sample"), names, (), _queue_sample)


def retire_call(keys: QueueKeys, worker_ids: Sequence[str], ttl_seconds: float) -> Call[tuple[str, ...]]:
    """Mark idle workers for `ttl_seconds`, 0 takes the marks back."""
    if not 0 <= ttl_seconds < float("inf"):
        raise ConfigurationError(f"'ttl_seconds' must be finite and >= 0, got {ttl_seconds!r}")
    lasts = milliseconds(ttl_seconds) if ttl_seconds else 0
    return Call(
        script("retire"),
        (keys.workers,),
        (lasts, *worker_ids),
        lambda reply: tuple(as_text(worker) for worker in reply),
    )


def require_master(hello: Any) -> None:
    """Raise ReadOnlyError when the reply to HELLO says that this is a replica; other replies say nothing."""
    if isinstance(hello, list):
        hello = dict(zip(hello[::2], hello[1::2], strict=False))
    if isinstance(hello, dict) and {hello.get("role"), hello.get(b"role")} & {"replica", b"replica"}:
        raise ReadOnlyError("this server is a replica")


def missing_script(replies: Sequence[Any]) -> bool:
    """Whether the server did not know the script of any of these."""
    return any(isinstance(reply, NoScriptError) for reply in replies)


def _queue_sample(reply: Sequence[Any]) -> QueueSample:
    numbers = [as_text(value) for value in reply[:13]]
    time_ms, pending, processing, completed, failed, dead = map(int, numbers[:6])
    in_flight, expired, deadline, delayed, delayed_due, due, counter = numbers[6:]
    fields = zip(reply[14::2], reply[15::2], strict=True)
    workers = (_worker_state(as_text(worker), state, time_ms) for worker, state in fields)
    return QueueSample(
        pending=pending,
        in_flight=int(in_flight),
        expired=int(expired),
        processing=processing,
        completed=completed,
        failed=failed,
        dead_letter=dead,
        delayed=int(delayed),
        delayed_due=int(delayed_due),
        next_due_seconds=_seconds_until(due, time_ms),
        next_expiry_seconds=_seconds_until(deadline, time_ms),
        claims_total=int(counter) if counter else None,
        time_ms=time_ms,
        workers=tuple(sorted((w for w in workers if w is not None), key=lambda worker: worker.id)),
        versions=_versions(reply[13]),
    )


def _versions(reply: Sequence[Text]) -> tuple[VersionOutcomes, ...]:
    """From `<config hash>:<what>` and numbers in turn."""
    found: dict[str, dict[str, int]] = {}
    for field, number in zip(reply[::2], reply[1::2], strict=True):
        config_hash, _, what = as_text(field).rpartition(":")
        with contextlib.suppress(ValueError):
            found.setdefault(config_hash, {})[what] = int(number)
    return tuple(
        VersionOutcomes(
            config_hash, facts.get("done", 0), facts.get("failed", 0), facts.get("dead", 0), facts.get("at")
        )
        for config_hash, facts in sorted(found.items())
    )


def _seconds_until(moment: str, time_ms: int) -> float | None:
    return max(0, int(moment) - time_ms) / 1000 if moment else None


def _worker_state(worker: str, text: Text, time_ms: int) -> WorkerState | None:
    """None for a field that is damaged or has outlived its worker."""
    try:
        state = json.loads(text)
        oldest = state.get("oldest")
        found = WorkerState(
            id=worker,
            protocol=int(state["v"]),
            pod_uid=str(state.get("pod", "")),
            owner_uid=str(state.get("owner", "")),
            slots=int(state["slots"]),
            busy=int(state["busy"]),
            oldest_start_ms=None if oldest is None else int(oldest),
            draining=bool(state.get("draining")),
            config_hash=str(state.get("config", "")),
            updated_ms=int(state["at"]),
            retired=int(state.get("retire", 0)) > time_ms,
            tripped=bool(state.get("tripped")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if found.updated_ms >= time_ms - WORKER_EXPIRY_MS else None
