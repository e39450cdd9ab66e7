"""The values a gateway hands to a queue, and what a handler may ask about its message."""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

MessageData = str | bytes


@dataclass(frozen=True)
class ClaimedMessage:
    """A stored message together with the lease that was granted on it.

    Raises TypeError for a token that is no `str` or a message that is neither `str` nor `bytes`, ValueError
    for an empty token.
    """

    stored_message: MessageData
    lease_token: str
    delivery_count: ClassVar[int | None] = None
    """Which delivery this is, from 1. Set by `counted`; no part of the value, None where nobody counts."""

    def __post_init__(self) -> None:
        if not isinstance(self.lease_token, str):
            raise TypeError(f"'lease_token' must be a str, got {type(self.lease_token).__name__}")
        if not self.lease_token:
            raise ValueError("'lease_token' must not be empty")
        if not isinstance(self.stored_message, (str, bytes)):
            raise TypeError(
                f"'stored_message' must be str or bytes, got {type(self.stored_message).__name__}"
            )

    def counted(self, delivery_count: int | None) -> ClaimedMessage:
        """The same claim, with the number of its delivery attached."""
        object.__setattr__(self, "delivery_count", delivery_count)
        return self


class CurrentMessage(NamedTuple):
    """What a queue knows of the message in hand.

    `id` is None for a value without envelope; `delivery_count` is 1 for the first delivery, and None without
    a delivery limit.
    """

    queue: str
    id: str | None
    delivery_count: int | None


_current: ContextVar[CurrentMessage | None] = ContextVar("redis_message_queue_current_message", default=None)


def current_message() -> CurrentMessage | None:
    """The message that is being handled in this thread or task; None outside `process_message()`."""
    return _current.get()


class Handling(AbstractContextManager[None]):
    """Makes `message` current for a block."""

    def __init__(self, message: CurrentMessage) -> None:
        self._message = message

    def __enter__(self) -> None:
        self._outer = _current.get()
        _current.set(self._message)

    def __exit__(self, *_: object) -> None:
        # Not by token: a generator may be closed from another context than it was begun in.
        _current.set(self._outer)
