"""What the library reports to an `on_event` callback."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class EventOperation(StrEnum):
    """What happened."""

    PUBLISH = "publish"
    PUBLISH_DEDUP_HIT = "publish_dedup_hit"
    CLAIM = "claim"
    CLAIM_EMPTY = "claim_empty"
    CLAIM_RECLAIM = "claim_reclaim"
    ACK = "ack"
    NACK = "nack"
    DLQ = "dlq"
    COMPLETED = "completed"
    FAILED = "failed"
    LEASE_RENEW = "lease_renew"
    LEASE_RENEW_FAILED = "lease_renew_failed"
    HEARTBEAT_STOP_TIMEOUT = "heartbeat_stop_timeout"
    STALE_LEASE_ACK = "stale_lease_ack"
    STALE_LEASE_NACK = "stale_lease_nack"
    CLEANUP_FAILED = "cleanup_failed"
    TRIM_FAILED = "trim_failed"
    RETRY_ATTEMPT = "retry_attempt"
    RETRY_EXHAUSTED = "retry_exhausted"
    DRAIN = "drain"
    CANCEL = "cancel"


class EventOutcome(StrEnum):
    """How it ended; START is the beginning of what takes a while (a drain)."""

    SUCCESS = "success"
    FAILURE = "failure"
    SKIPPED = "skipped"
    START = "start"


@dataclass(frozen=True)
class QueueEvent:
    """One fact about one queue.

    `queue` is the queue's name, `destination_queue` a Redis key, `duration_ms` milliseconds, `error` the
    exception object itself (it may hold secrets of the handler: mind what is logged). Deliveries are counted
    under a limit only. The last two fields belong to a drain: its time limit, and the claims whose outcome is
    not known at that moment.
    """

    queue: str
    operation: EventOperation
    outcome: EventOutcome
    message_id: str | None = None
    claim_id: str | None = None
    lease_token_hash: str | None = None
    destination_queue: str | None = None
    exception_type: str | None = None
    duration_ms: float | None = None
    error: BaseException | None = None
    delivery_count: int | None = None
    max_delivery_count: int | None = None
    timeout_seconds: float | None = None
    pending_claim_ids: tuple[str, ...] | None = None


def hash_lease_token(token: str | None) -> str | None:
    """The first 16 hex digits of the token's SHA-256: enough to correlate, useless to settle with."""
    return None if token is None else hashlib.sha256(token.encode()).hexdigest()[:16]
