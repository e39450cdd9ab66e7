"""Why a decision could not be carried out: told in the status, and tried again soon. Pure."""

from __future__ import annotations

from redis.exceptions import ResponseError

from redis_message_queue.trouble import AWAY
from redisqueue_operator.decide.attempt import RETRY_SECONDS
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.observe.facts import Hindrance
from redisqueue_operator.observe.redis.errors import classify


def hindrance_of(error: Exception, now: float) -> Hindrance | None:
    """What people are told of a failed write; None where the next sample tells."""
    if isinstance(error, Conflict):
        text = f"Something else changes the workers' object all the time: {error}"
        return Hindrance("ScaleConflict", text, now + RETRY_SECONDS)
    if isinstance(error, PlatformError):
        return Hindrance("ScaleRefused", str(error), now + RETRY_SECONDS)
    if isinstance(error, TimeoutError):
        return Hindrance("ScaleRefused", "The API server gave no answer in time.", now)
    if isinstance(error, ResponseError):
        reason, message = classify(error)
        text = f"Idle workers cannot be told to stop claiming: {reason}: {message}"
        return Hindrance("RetireRefused", text, now + RETRY_SECONDS)
    if isinstance(error, AWAY):
        return None  # or nobody can be told at all
    return Hindrance("ScaleFailed", f"{type(error).__name__}: see the operator's log.", now)


UNPROTECTED_SECONDS = 300.0
"""Between two tries to protect pods that may not be written to."""


def unprotected_of(error: Exception, now: float) -> Hindrance:
    """Why pods cannot be protected; without a word where the next try may do it."""
    if not isinstance(error, PlatformError) or error.passing:
        return Hindrance("ProtectionRefused", "", now)
    text = (
        "Pods cannot be annotated, so what gives nodes back does not know which workers are in the middle "
        f"of long work; they drain when it takes them: {error}"
    )
    return Hindrance("ProtectionRefused", text, now + UNPROTECTED_SECONDS)


def unreturned_of(error: Exception, now: float) -> Hindrance:
    """Why messages of dead workers could not be given back; without a word where the next try may do it."""
    text = ""
    if isinstance(error, ResponseError):
        reason, message = classify(error)
        text = f"messages of workers that ended come back only when their leases end: {reason}: {message}"
    return Hindrance("ReturnRefused", text, now + RETRY_SECONDS)
