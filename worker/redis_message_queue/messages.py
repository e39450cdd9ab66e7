"""The values a gateway hands to a queue."""

from __future__ import annotations

from dataclasses import dataclass

MessageData = str | bytes


@dataclass(frozen=True)
class ClaimedMessage:
    """A stored message together with the lease that was granted on it.

    Raises TypeError for a token that is no `str` or a message that is neither `str` nor `bytes`, ValueError
    for an empty token.
    """

    stored_message: MessageData
    lease_token: str

    def __post_init__(self) -> None:
        if not isinstance(self.lease_token, str):
            raise TypeError(f"'lease_token' must be a str, got {type(self.lease_token).__name__}")
        if not self.lease_token:
            raise ValueError("'lease_token' must not be empty")
        if not isinstance(self.stored_message, (str, bytes)):
            raise TypeError(
                f"'stored_message' must be str or bytes, got {type(self.stored_message).__name__}"
            )
