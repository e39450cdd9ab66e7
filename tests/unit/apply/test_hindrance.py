"""Which failures of a change people are told of, in whose words, and which pass by themselves."""

from __future__ import annotations

import pytest
from redis import exceptions

from redisqueue_operator.apply.hindrance import RETRY_SECONDS, hindrance_of
from redisqueue_operator.kubernetes_api import ApiError


@pytest.mark.parametrize(
    ("error", "reason", "words", "waits"),
    [
        (ApiError(422, "Invalid", "denied: at most 3"), "ScaleRefused", "denied: at most 3", RETRY_SECONDS),
        (ApiError(403, "Forbidden", "may not patch"), "ScaleRefused", "may not patch", RETRY_SECONDS),
        (ApiError(500, "InternalError", "failed calling webhook"), "ScaleRefused", "webhook", RETRY_SECONDS),
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
        ApiError(429, "TooManyRequests", "later"),
        ApiError(503, "ServiceUnavailable", "later"),
        ConnectionRefusedError(),
        exceptions.ConnectionError("gone"),
    ],
)
def test_what_passes_by_itself_is_no_verdict(error: Exception) -> None:
    assert hindrance_of(error, 100.0) is None
