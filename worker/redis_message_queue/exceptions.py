"""Errors of the library: one root, and beside it the builtin or redis-py class that callers already catch.

Wrong argument *types* are plain `TypeError`s; wrong values and combinations are `ConfigurationError`s.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from redis_message_queue._redis_errors import (
        ClaimStoreFailedError,
        LuaScriptError,
        RetryBudgetExhaustedError,
    )

__all__ = [
    "ClaimStoreFailedError",
    "CleanupFailedError",
    "ConfigurationError",
    "DrainFailedError",
    "GatewayContractError",
    "LuaScriptError",
    "MalformedStoredMessageError",
    "PayloadTooDeepError",
    "PayloadTooLargeError",
    "QueueBackpressureError",
    "QueueDrainedError",
    "RedisMessageQueueError",
    "RetryBudgetExhaustedError",
]
_LATE = ("ClaimStoreFailedError", "LuaScriptError", "RetryBudgetExhaustedError")

_E = TypeVar("_E", bound="RedisMessageQueueError")


class RedisMessageQueueError(Exception):
    """Root of every error the library raises for a reason of its own.

    `queue` (name), `message_id` (envelope id) and `operation` (event word) are set where they are known.
    """

    queue: str | None = None
    message_id: str | None = None
    operation: str | None = None


class ConfigurationError(RedisMessageQueueError, ValueError):
    """An argument has a value, or a combination of values, that cannot work."""


class GatewayContractError(RedisMessageQueueError, TypeError):
    """A gateway is of the wrong kind or returned something its contract does not allow."""


class MalformedStoredMessageError(RedisMessageQueueError, ValueError):
    """A stored message begins like an envelope but is not one; it stays in the processing list."""


class PayloadTooLargeError(RedisMessageQueueError, ValueError):
    """The payload is longer than `max_payload_bytes` (UTF-8 bytes)."""


class PayloadTooDeepError(RedisMessageQueueError, ValueError):
    """A dict payload is nested deeper than `max_payload_depth` levels."""


class CleanupFailedError(RedisMessageQueueError):
    """The handler succeeded, but the message could not be acknowledged; `__cause__` says why."""


class QueueBackpressureError(RedisMessageQueueError):
    """The pending list is full."""


class QueueDrainedError(RedisMessageQueueError):
    """The queue object was drained and publishes no more; build a fresh one over the same keys."""


class DrainFailedError(RedisMessageQueueError):
    """A drain ended with something left; `drain()` answers False, and its event carries this error."""


def with_context(
    error: _E,
    *,
    queue: str | None = None,
    message_id: str | None = None,
    operation: str | None = None,
) -> _E:
    """Return `error` with the context fields that are known; a field set before is kept."""
    error.queue = error.queue or queue
    error.message_id = error.message_id or message_id
    error.operation = error.operation or operation
    return error


def __getattr__(name: str) -> object:
    """Those that are errors of redis-py too, imported with it: a process slot has this module alone."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module("redis_message_queue._redis_errors"), name)
    return found
