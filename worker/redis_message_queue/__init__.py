"""A queue on Redis lists: publish once, process at least once, lose nothing."""

from redis_message_queue._abstract_gateway import AbstractRedisGateway
from redis_message_queue._redis_gateway import RedisGateway
from redis_message_queue.events import EventOperation, EventOutcome, QueueEvent
from redis_message_queue.exceptions import (
    CleanupFailedError,
    ConfigurationError,
    GatewayContractError,
    LuaScriptError,
    QueueBackpressureError,
    QueueDrainedError,
    RedisMessageQueueError,
    RetryBudgetExhaustedError,
)
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler, GracefulInterruptHandler
from redis_message_queue.messages import ClaimedMessage, MessageData
from redis_message_queue.redis_message_queue import RedisMessageQueue

__all__ = [  # noqa: RUF022 - the documented order
    "RedisMessageQueue",
    "RedisGateway",
    "AbstractRedisGateway",
    "ClaimedMessage",
    "MessageData",
    "GracefulInterruptHandler",
    "BaseGracefulInterruptHandler",
    "QueueEvent",
    "EventOperation",
    "EventOutcome",
    "RedisMessageQueueError",
    "ConfigurationError",
    "GatewayContractError",
    "LuaScriptError",
    "QueueBackpressureError",
    "QueueDrainedError",
    "CleanupFailedError",
    "RetryBudgetExhaustedError",
]
