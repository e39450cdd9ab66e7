"""What holds for each handler: what it says itself, and for the rest the worker's settings. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.executors import kind_of, kind_problem
from redisqueue_worker.registry import called_by
from redisqueue_worker.retry_policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_worker.handler_policy import Batching, HandlerPolicy, Slots
    from redisqueue_worker.handlers import OneHandler


class WorkerLimits(Protocol):
    """The settings of a worker that hold where a handler says nothing, and bound what it says."""

    @property
    def max_attempts(self) -> int: ...
    @property
    def max_delivery_count(self) -> int | None: ...
    @property
    def retry_initial_seconds(self) -> float: ...
    @property
    def retry_max_seconds(self) -> float: ...
    @property
    def handler_timeout_seconds(self) -> float | None: ...
    @property
    def slots(self) -> str: ...
    @property
    def concurrency(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """What holds for the messages of one type; `timeout_seconds` None: no limit."""

    retries: RetryPolicy
    timeout_seconds: float | None
    slots: Slots
    batching: Batching | None = None

    def __str__(self) -> str:
        retries = self.retries
        timeout = "no timeout" if self.timeout_seconds is None else f"timeout {self.timeout_seconds:g} s"
        attempts = f"{retries.max_attempts} attempt{'s' if retries.max_attempts > 1 else ''}"
        gathered = f"{self.batching}, " if self.batching else ""
        return (
            f"{gathered}{self.slots}, {timeout}, {attempts}, "
            f"backoff {retries.initial_seconds:g} s to {retries.max_seconds:g} s"
        )


def retries_of(said: HandlerPolicy | None, worker: RetryPolicy) -> RetryPolicy:
    """How a handler's failures are repeated."""
    if said is None:
        return worker
    backoff = said.retry
    return RetryPolicy(
        said.max_attempts or worker.max_attempts,
        (backoff and backoff.initial_seconds) or worker.initial_seconds,
        (backoff and backoff.max_seconds) or worker.max_seconds,
    )


def policies_of(by_type: Mapping[str, OneHandler], settings: WorkerLimits) -> dict[str, EffectivePolicy]:
    """What holds for each type. Raises HandlerError that names every contradiction with the settings."""
    found: dict[str, EffectivePolicy] = {}
    problems: list[str] = []
    worker = RetryPolicy(settings.max_attempts, settings.retry_initial_seconds, settings.retry_max_seconds)
    for name, handler in by_type.items():
        said = handler.policy
        found[name] = EffectivePolicy(
            retries_of(said, worker),
            (said and said.timeout_seconds) or settings.handler_timeout_seconds,
            _slots(handler, settings),
            said.batching if said else None,
        )
        told = _contradictions(said, found[name], handler, settings)
        problems += [f"{called_by(name, found[name].batching)}: {problem}" for problem in told]
    if problems:
        raise HandlerError("; ".join(problems))
    return found


def _slots(handler: OneHandler, settings: WorkerLimits) -> Slots:
    wanted = (handler.policy and handler.policy.slots) or settings.slots
    return kind_of(is_async=handler.is_async) if wanted == "auto" else wanted  # type: ignore[return-value]


def _contradictions(
    said: HandlerPolicy | None, policy: EffectivePolicy, handler: OneHandler, settings: WorkerLimits
) -> list[str]:
    """What is wrong between what a handler says, what it is, and the worker's settings."""
    found = []
    if problem := kind_problem(policy.slots, is_async=handler.is_async):
        found.append(f"slots: {problem}")
    if policy.batching:
        found += _batching_contradictions(policy.batching, settings)
    attempts, deliveries = policy.retries.max_attempts, settings.max_delivery_count
    if deliveries and attempts > deliveries:
        found.append(
            f"max_attempts: {attempts} must not exceed REDISQUEUE_MAX_DELIVERY_COUNT "
            f"(--max-delivery-count) = {deliveries}, after which a message is a dead letter; "
            "lower the one or raise the other"
        )
    first, most = policy.retries.initial_seconds, policy.retries.max_seconds
    if first > most:
        whose = "" if said and said.retry and said.retry.max_seconds else "REDISQUEUE_RETRY_MAX_SECONDS "
        found.append(
            f"retry: initial_seconds {first:g} must not exceed {whose}max_seconds = {most:g}; "
            "say both in retry=Backoff(initial_seconds=…, max_seconds=…)"
        )
    return found


def _batching_contradictions(batching: Batching, settings: WorkerLimits) -> list[str]:
    """Why its batches could never fill, or would take a process for each message."""
    found = []
    if batching.max_size > settings.concurrency:
        found.append(
            f"max_size: {batching.max_size} must not exceed REDISQUEUE_CONCURRENCY (--concurrency) = "
            f"{settings.concurrency}, how many messages a worker has in hand at once; "
            "raise the one or lower the other"
        )
    if settings.slots == "processes":
        found.append(
            "REDISQUEUE_SLOTS (--slots) = processes would start one for each message of a batch; "
            "leave it out, and say slots='processes' here"
        )
    return found
