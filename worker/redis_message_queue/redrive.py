"""What a redrive may be asked and how far it is; what a repair found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis_message_queue.validation import check_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_AT_ONCE = 100
AT_FIRST = 10
# One batch holds what may be moved in that time, so that a paced redrive flows instead of bursting.
BATCH_SECONDS = 0.25
RECORD_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class RedriveProgress:
    """How far a redrive is, of the letters that were there when it began.

    `moved` are pending again (in a dry run: would be), `skipped` were looked at and stay because they do not
    match, `remaining` were not looked at yet.
    """

    moved: int
    skipped: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveOptions:
    """The arguments of `redrive()`, checked."""

    max_messages: int | None = None
    per_second: float | None = None
    match: Callable[[Sequence[bytes]], Any] | None = None
    dry_run: bool = False
    max_payload_bytes: int | None = None
    make_room: Callable[[int], Any] | None = None
    record: str | None = None
    on_progress: Callable[[RedriveProgress], Any] | None = None

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError naming the first argument that cannot work."""
        check_fields(self)

    @property
    def most_at_once(self) -> int:
        """Letters to move in one call."""
        if self.per_second is None:
            return MOST_AT_ONCE
        return max(1, min(MOST_AT_ONCE, int(self.per_second * BATCH_SECONDS)))


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found of a queue; in a dry run all of it is left as it was.

    Attributes:
        looked_at: messages in processing.
        without_deadline: had a token alone: nobody would ever have taken them back.
        without_lease: had neither: in the hand of a consumer without a visibility timeout, or lost by one.
        without_message: leases whose message was gone from processing.
    """

    looked_at: int = 0
    without_deadline: int = 0
    without_lease: int = 0
    without_message: int = 0

    @property
    def found(self) -> int:
        """How many messages had no whole lease."""
        return self.without_deadline + self.without_lease + self.without_message
