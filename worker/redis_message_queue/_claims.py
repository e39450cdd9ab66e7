"""What a consumer claims, and what it says of it: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue.validation import LONGEST_DELAY_SECONDS, check

if TYPE_CHECKING:
    from redis_message_queue._core import Text


class Outcome(StrEnum):
    """What became of a claimed message."""

    DONE = "done"  # to the completed list, if it is kept
    FAILED = "failed"  # to the failed list, if it is kept; removed otherwise
    DEAD = "dead"  # to the dead letters, with a record of why
    RETRY = "retry"  # again after `delay_seconds`; the delivery counts
    RELEASE = "release"  # back to the front of pending; the delivery does not count


class Due(StrEnum):
    """What a claim does with retried and delayed messages that are due."""

    FIRST = "first"  # they are claimed first; while others wait, they get every other place
    LAST = "last"  # only if nothing else waits
    LATER = "later"  # they stay where they are


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who claims: shown in the queue's hash of workers, so that an operator can protect or retire it."""

    id: str
    slots: int
    pod_uid: str = ""
    owner_uid: str = ""
    config_hash: str = ""


class Claim(NamedTuple):
    """One leased message. `payload` has the type of `stored`; `id` is None for a value without envelope.

    `failures`: how often its handler failed and it was retried. `lost_leases`: how often a lease of it ended
    unsettled, as when its worker dies. `kept`: it is not to be handled, but to be released once nothing else
    is in hand (see `Consumer.settle`).
    """

    stored: Text
    token: str
    id: str | None
    payload: Text
    delivery_count: int
    failures: int = 0
    lost_leases: int = 0
    kept: bool = False

    @property
    def lease(self) -> tuple[Text, str]:
        """What tells this claim from every other: tokens come again when Redis lost its last writes."""
        return self.stored, self.token


class ClaimReply(NamedTuple):
    """What a claim answered.

    `retired`: the operator asked this worker to stop claiming. The two times are None when there is no such
    message, and when as many messages came as were asked for: then claim again rather than wait.
    """

    claims: tuple[Claim, ...]
    reclaimed: int = 0
    dead_lettered: int = 0
    retired: bool = False
    next_due_seconds: float | None = None
    next_expiry_seconds: float | None = None
    given_up: tuple[bytes, ...] = ()
    """The stored form of those that were dead-lettered."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of one claim. `reason` (a word) and `detail` are kept with a dead letter.

    `failed`: the handler failed, whatever becomes of the message; it counts against the worker's version.
    """

    claim: Claim
    outcome: Outcome
    delay_seconds: float = 0.0
    reason: str = ""
    detail: str = ""
    failed: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a delay that is negative, not finite, or beyond ten years."""
        if not 0 <= self.delay_seconds <= LONGEST_DELAY_SECONDS:  # which nothing but a number in it is
            check(delay_seconds=self.delay_seconds)


class SettleReply(NamedTuple):
    """`applied` answers each settlement: False means that the lease was lost and nothing changed."""

    applied: tuple[bool, ...]
    claimed: ClaimReply
