"""Which failures of a change people are told of, in whose words, and which pass by themselves."""

from __future__ import annotations

import pytest
from redis import exceptions

from redisqueue_operator.apply.hindrance import hindrance_of
from redisqueue_operator.decide.attempt import ENDLESS, RETRY_SECONDS, Attempt
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.kubernetes_api import ApiError


@pytest.mark.parametrize(
    ("error", "reason", "words", "waits"),
    [
        (ApiError(422, "Invalid", "denied: at most 3"), "ScaleRefused", "denied: at most 3", RETRY_SECONDS),
        (ApiError(403, "Forbidden", "may not patch"), "ScaleRefused", "may not patch", RETRY_SECONDS),
        (ApiError(500, "InternalError", "failed calling webhook"), "ScaleRefused", "webhook", RETRY_SECONDS),
        (Conflict("somebody was faster"), "ScaleConflict", "somebody was faster", RETRY_SECONDS),
        (TimeoutError(), "ScaleRefused", "no answer in time", 0.0),
        (exceptions.NoPermissionError("NOPERM"), "RetireRefused", "cannot be told to stop", RETRY_SECONDS),
        (RuntimeError("redis://:secret@host"), "ScaleFailed", "RuntimeError: see the operator's log", 0.0),
    ],
)
def test_it_is_told_and_tried_again(error: Exception, reason: str, words: str, waits: float) -> None:
    found = hindrance_of(error, 100.0)
    assert found is not None
    assert (found.reason, found.until) == (reason, 100.0 + waits)
    assert words in found.message
    assert "secret" not in found.message


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        exceptions.ConnectionError("gone"),
    ],
)
def test_what_passes_by_itself_is_no_verdict(error: Exception) -> None:
    assert hindrance_of(error, 100.0) is None


@pytest.mark.parametrize(
    ("error", "at_once"),
    [
        (Conflict("somebody was faster"), False),
        (ApiError(429, "TooManyRequests", "later"), False),
        (ApiError(503, "ServiceUnavailable", "later"), False),
        (ApiError(500, "InternalError", "etcdserver: leader changed"), False),
        (ApiError(500, "InternalError", "failed calling webhook"), True),
        (ApiError(403, "Forbidden", "may not"), True),
        (ApiError(422, "Invalid", "denied"), True),
        (ApiError(404, "NotFound", "no such namespace"), True),
    ],
)
def test_what_may_pass_is_told_when_it_does_not(error: PlatformError, at_once: bool) -> None:
    attempts = [Attempt().failed(error, 100.0)]
    for _ in range(ENDLESS):
        attempts.append(attempts[-1].failed(error, 100.0))
    said = [each.error is not None for each in attempts]
    assert said == ([True] * len(said) if at_once else [False] * (ENDLESS - 1) + [True] * 2)
    assert (attempts[-1].error, attempts[-1].until) == (error, 100.0 + RETRY_SECONDS)
    assert attempts[-1].waits(102.9)
    assert not attempts[-1].waits(103.0)
