"""The settings of consumers and every rule between them; no worker needs those of queues, in `options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis_message_queue.limits import Limits
from redis_message_queue.messages import WorkerIdentity
from redis_message_queue.validation import LEASE, check, check_by, check_kind

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys

_KEPT = ("keep_completed", "keep_failed", "keep_dead_letter_info")


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """The checked arguments of a consumer."""

    keys: QueueKeys
    visibility_timeout_seconds: float
    max_delivery_count: int | None
    keep_completed: int
    keep_failed: int
    keep_dead_letter_info: int
    results_ttl_seconds: float
    worker: WorkerIdentity | None
    limits: Limits | None
    key_limits: Limits | None

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError naming the first argument that cannot work."""
        check(name=self.keys.name, key_separator=self.keys.separator)
        check_by(LEASE, "visibility_timeout_seconds", self.visibility_timeout_seconds)
        names = ("max_delivery_count", *_KEPT, "results_ttl_seconds")
        check(**{name: getattr(self, name) for name in names})
        check_kind(WorkerIdentity, worker=self.worker)
        check_kind(Limits, limits=self.limits, key_limits=self.key_limits)
