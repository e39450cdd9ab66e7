"""What a handler may know and do about the message that it has in hand."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import MutableMapping
    from typing import Any


class Context:
    """The optional second argument of a handler; safe to use from any thread.

    Attributes:
        id: the message's id; None for a message that was published without one.
        delivery_count: how often this message was handed out, this time included.
        logger: a logger whose lines carry the message's id.
    """

    def __init__(
        self,
        *,
        id: str | None,  # noqa: A002  (the handler's author reads `context.id`)
        delivery_count: int,
        timeout_seconds: float | None,
        logger: logging.LoggerAdapter[logging.Logger],
        draining: threading.Event,
    ) -> None:
        self.id = id
        self.delivery_count = delivery_count
        self.logger = logger
        self._draining = draining
        self._lease_lost = threading.Event()
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds

    @property
    def deadline(self) -> datetime | None:
        """The moment (UTC) at which the handler is timed out; None without a handler timeout."""
        remaining = self.remaining_seconds
        return None if remaining is None else datetime.now(UTC) + timedelta(seconds=remaining)

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds until the deadline, negative after it; None without a handler timeout."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    @property
    def draining(self) -> bool:
        """Whether the worker is about to stop: a long handler may end early, as by `raise Retry(0)`."""
        return self._draining.is_set()

    @property
    def lease_lost(self) -> bool:
        """Whether the message now belongs to somebody else, so that this handler's outcome will not count."""
        return self._lease_lost.is_set()

    def extend(self, seconds: float) -> None:
        """Move the deadline to at least `seconds` from now; it never comes nearer.

        The lease needs no such call: the worker renews it for as long as the handler runs.
        Without a handler timeout there is no deadline to move.

        Raises ValueError unless `seconds` is above zero.
        """
        if not seconds > 0:
            raise ValueError(f"seconds: {seconds!r} must be above 0")
        if self._deadline is not None:
            self._deadline = max(self._deadline, time.monotonic() + seconds)

    def mark_lease_lost(self) -> None:
        """Called by the worker when somebody else holds the lease."""
        self._lease_lost.set()


def message_logger(
    logger: logging.Logger, message_id: str | None, delivery_count: int
) -> logging.LoggerAdapter[Any]:
    """A logger that adds the message's id and delivery count to each of its lines."""
    import logging  # noqa: PLC0415  (the drain command must not pay for it)

    class MessageLogger(logging.LoggerAdapter[logging.Logger]):
        def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
            fields = {
                "message_id": message_id,
                "delivery_count": delivery_count,
                **(kwargs.get("extra") or {}),
            }
            return msg, {**kwargs, "extra": fields}

    return MessageLogger(logger, {})
