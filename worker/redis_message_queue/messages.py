"""Messages in hand: what gateways and consumers claim, what is said of it, and what a handler may ask."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.validation import DELAY, LONGEST_DELAY_SECONDS, check, check_by, check_fields

MessageData = str | bytes
# What versions 9 to 11 call what is received and published, and 8 the latter.
ReceivedPayload = MessageData
PublishPayload = MessagePayload = str | dict[str, Any]


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


handled: ContextVar[CurrentMessage | None] = ContextVar("redis_message_queue_current_message", default=None)


def current_message() -> CurrentMessage | None:
    """The message that is being handled in this thread or task; None outside `process_message()`."""
    return handled.get()


# -- of consumers --


class Outcome(StrEnum):
    """What became of a claimed message."""

    DONE = "done"  # to the completed list, if it is kept
    FAILED = "failed"  # to the failed list, if it is kept; removed otherwise
    DEAD = "dead"  # to the dead letters, with a record of why
    RETRY = "retry"  # again after `delay_seconds`; the delivery counts
    CANCELLED = "cancelled"  # removed, because somebody has asked for that
    RELEASE = "release"  # back to the front of pending; the delivery does not count


class Due(StrEnum):
    """What a claim does with retried and delayed messages that are due."""

    FIRST = "first"  # they are claimed first; while others wait, they get every other place
    LAST = "last"  # only if nothing else waits
    LATER = "later"  # they stay where they are


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """Who claims: shown in the queue's hash of workers, so that an operator can protect or retire it.

    `instance` tells this process from every other one, also from those before and after it under the same id.
    With it Redis keeps account of what the process holds: see `holders.expire_leases`.
    """

    id: str
    slots: int
    pod_uid: str = ""
    owner_uid: str = ""
    config_hash: str = ""
    instance: str = ""

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError naming the first that cannot work."""
        check_fields(self)


class Claim(NamedTuple):
    """One claimed message. `payload` has the type of `stored`; `id` is None for a value without envelope.

    A claim of a `Consumer` has a lease and a count. Else `token` is empty where there is no lease, and
    `delivery_count` is 0 where nobody counts.

    `failures`: how often its handler failed and it was retried. `lost_leases`: how often a lease of it ended
    unsettled, as when its worker dies. `kept`: it is not to be handled, but to be released once nothing else
    is in hand (see `Consumer.settle`). `lease_end_ms`: when its lease ends, as it was granted, by the
    server's clock; 0 where that is not known.
    """

    stored: MessageData
    token: str
    id: str | None
    payload: MessageData
    delivery_count: int
    failures: int = 0
    lost_leases: int = 0
    kept: bool = False
    lease_end_ms: int = 0

    @property
    def lease(self) -> tuple[MessageData, str]:
        """What tells this claim from every other: tokens come again when Redis lost its last writes."""
        return self.stored, self.token


class ClaimReply(NamedTuple):
    """What a claim answered.

    `retired`: the operator asked this worker to stop claiming. The times are None when there is no such
    message, and when as many messages came as were asked for: then claim again rather than wait. What is
    kept back by the limits of its key is due when they let it go.
    """

    claims: tuple[Claim, ...]
    reclaimed: int = 0
    dead_lettered: int = 0
    retired: bool = False
    next_due_seconds: float | None = None
    next_expiry_seconds: float | None = None
    given_up: tuple[bytes, ...] = ()
    """The stored form of those that were dead-lettered, or cancelled without being settled so."""
    limited_seconds: float | None = None
    """Until the limits of the queue let it begin another one; None unless they kept some back."""


@dataclass(slots=True, unsafe_hash=True)  # not frozen, which takes several times as long to make
class Settlement:
    """The end of one claim. `reason` (a word) and `detail` are kept with a dead letter.

    `failed`: the handler failed, whatever becomes of the message; it counts against the worker's version.
    `result`: what a consumer with results keeps of it, a text that `results` makes; none when it is empty.
    """

    claim: Claim
    outcome: Outcome
    delay_seconds: float = 0.0
    reason: str = ""
    detail: str = ""
    failed: bool = False
    result: str = ""

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError for what cannot work, such as a delay beyond ten years."""
        kinds = (
            self.outcome.__class__,
            self.delay_seconds.__class__,
            self.reason.__class__,
            self.detail.__class__,
            self.result.__class__,
            self.failed.__class__,
        )
        if kinds != _USUAL_KINDS or not 0 <= self.delay_seconds <= LONGEST_DELAY_SECONDS:
            self.outcome = _outcome_of(self.outcome)
            check_by(DELAY, "delay_seconds", self.delay_seconds)
            check(reason=self.reason, detail=self.detail, result=self.result, failed=self.failed)


_USUAL_KINDS = (Outcome, float, str, str, str, bool)


def _outcome_of(word: object) -> Outcome:
    """The outcome that a text names. Raises ConfigurationError."""
    try:
        return Outcome(word)  # type: ignore[arg-type]
    except ValueError:
        names = ", ".join(repr(one.value) for one in Outcome)
        raise ConfigurationError(f"'outcome' must be one of {names}, got {word!r}") from None


class SettleReply(NamedTuple):
    """`applied` answers each settlement: False means that the lease was lost and nothing changed."""

    applied: tuple[bool, ...]
    claimed: ClaimReply
