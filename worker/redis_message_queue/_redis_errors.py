"""Errors of the library that are errors of redis-py too. Callers have them from `exceptions`."""

from __future__ import annotations

import redis.exceptions

from redis_message_queue.exceptions import RedisMessageQueueError

_HOME = "redis_message_queue.exceptions"


class LuaScriptError(redis.exceptions.ResponseError, RedisMessageQueueError):
    """A script refused to run: a key has the wrong type, or memory ran out during a publish."""

    __module__ = _HOME


class ClaimStoreFailedError(LuaScriptError):
    """A claim could not be recorded (out of memory, a counter that is no integer); the message is pending."""

    __module__ = _HOME


class RetryBudgetExhaustedError(redis.exceptions.RedisError, RedisMessageQueueError):
    """Redis stayed unreachable for the whole retry budget; `__cause__` is the last redis-py error."""

    __module__ = _HOME
