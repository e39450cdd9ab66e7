"""What a handler says of its own limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redisqueue_worker.logs import shown

Slots = Literal["threads", "tasks", "processes"]
SLOTS: tuple[Slots, ...] = ("threads", "tasks", "processes")
# As for the worker's settings of the same kind.
_MOST = 10**9
_MOST_AT_ONCE = 1000
_WAY_OUT = "leave it out for the worker's own"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a message waits after a failure: `initial_seconds`, doubled each time up to `max_seconds`.

    What is None is as the worker's settings have it.
    """

    initial_seconds: float | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Batching:
    """How messages are gathered for one call: at most `max_size`, for `max_wait_seconds` at most."""

    max_size: int
    max_wait_seconds: float

    def __str__(self) -> str:
        return f"batches of {self.max_size} within {self.max_wait_seconds:g} s"


@dataclass(frozen=True, slots=True)
class HandlerPolicy:
    """What `@handler` was told beside the type; what is None is as the worker's settings have it.

    Raises ValueError that names each field, its value and the way out.
    """

    max_attempts: int | None = None
    timeout_seconds: float | None = None
    retry: Backoff | None = None
    slots: Slots | None = None
    batching: Batching | None = None

    def __post_init__(self) -> None:
        if problems := [*_problems(self)]:
            raise ValueError("; ".join(problems))


def _batching_problems(batching: Batching) -> list[str]:
    size, found = batching.max_size, []
    if type(size) is not int or not 1 <= size <= _MOST_AT_ONCE:
        found.append(
            f"max_size: {shown(size)} must be a whole number from 1 to {_MOST_AT_ONCE}; leave it out for 100"
        )
    return found + _no_seconds("max_wait_seconds", batching.max_wait_seconds, "leave it out for 0.5")


def _problems(policy: HandlerPolicy) -> list[str]:
    attempts, retry, slots = policy.max_attempts, policy.retry, policy.slots
    found = _batching_problems(policy.batching) if policy.batching else []
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= _MOST):
        found.append(f"max_attempts: {shown(attempts)} must be a whole number from 1 to {_MOST}; {_WAY_OUT}")
    found += _no_seconds("timeout_seconds", policy.timeout_seconds)
    if slots is not None and slots not in SLOTS:
        found.append(f"slots: {shown(slots)} must be one of {', '.join(SLOTS)}; {_WAY_OUT}")
    if retry is None:
        return found
    if type(retry) is not Backoff:
        example = "retry=Backoff(initial_seconds=1, max_seconds=600)"
        return [*found, f"retry: {shown(retry)} must be a Backoff, as in {example}; {_WAY_OUT}"]
    return [
        *found,
        *_no_seconds("retry.initial_seconds", retry.initial_seconds),
        *_no_seconds("retry.max_seconds", retry.max_seconds),
    ]


def _no_seconds(field: str, value: object, way_out: str = _WAY_OUT) -> list[str]:
    is_number = type(value) in (int, float)
    if (value is None and way_out == _WAY_OUT) or (is_number and 0 < value <= _MOST):  # type: ignore[operator]
        return []
    wanted = f"must be a number of seconds above 0, and at most {_MOST}"
    hint = "use its total_seconds()" if hasattr(value, "total_seconds") else way_out
    return [f"{field}: {shown(value)} {wanted}; {hint}"]
