"""What a handler can raise to say what shall happen to its message."""

from __future__ import annotations


class Retry(Exception):
    """Handle this message again later; the other messages do not wait for it.

    An explicit Retry is not bound by the worker's maximum of attempts, only by the queue's
    maximum of deliveries.

    Args:
        delay: seconds until the message is due again; the worker's own backoff when None.

    Raises ValueError for a negative delay.
    """

    def __init__(self, delay: float | None = None) -> None:
        if delay is not None and not delay >= 0:
            raise ValueError(
                f"delay: {delay!r} is not a number of seconds >= 0; leave it out for the worker's backoff"
            )
        super().__init__(delay)
        self.delay_seconds = delay


class DeadLetter(Exception):
    """Never handle this message again: move it to the dead letters.

    Args:
        reason: why, in a few words; it is kept beside the message for whoever looks at it later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)
