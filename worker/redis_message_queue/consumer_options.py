"""The settings of consumers and every rule between them; no worker needs those of queues, in `options`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.validation import LONGEST_DELAY_SECONDS, MOST_KEPT, shown

if TYPE_CHECKING:
    from redis_message_queue.keys import QueueKeys
    from redis_message_queue.limits import Limits
    from redis_message_queue.messages import WorkerIdentity


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
        """Raise ConfigurationError naming the first argument that cannot work."""
        if not self.keys.name.strip():
            raise ConfigurationError("'name' must be a non-empty string")
        if not self.keys.separator.strip():
            raise ConfigurationError("'key_separator' must be a non-empty string")
        if not 0 < self.visibility_timeout_seconds <= LONGEST_DELAY_SECONDS:
            raise ConfigurationError(
                f"'visibility_timeout_seconds' must be a number > 0, and at most {LONGEST_DELAY_SECONDS}"
                f" (ten years), got {shown(self.visibility_timeout_seconds)}"
            )
        if self.max_delivery_count is not None and self.max_delivery_count < 1:
            raise ConfigurationError(
                f"'max_delivery_count' must be >= 1, or None for no limit; got {self.max_delivery_count!r}"
            )
        if not 0 <= self.results_ttl_seconds <= LONGEST_DELAY_SECONDS:
            raise ConfigurationError(
                "'results_ttl_seconds' must be a number >= 0 (0 keeps none), and at most"
                f" {LONGEST_DELAY_SECONDS} (ten years), got {shown(self.results_ttl_seconds)}"
            )
        for field in ("keep_completed", "keep_failed", "keep_dead_letter_info"):
            value = getattr(self, field)
            if not 0 <= value <= MOST_KEPT:
                raise ConfigurationError(
                    f"'{field}' must be >= 0 (0 keeps nothing), and at most {MOST_KEPT}, got {shown(value)}"
                )
