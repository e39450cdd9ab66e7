# Written by worker/sync_face.py from asyncio/__init__.py: change that.
"""A queue on Redis lists: publish once, process at least once, lose nothing."""

from redis_message_queue._redis_gateway import AbstractRedisGateway, RedisGateway
from redis_message_queue.events import EventOperation, EventOutcome, QueueEvent
from redis_message_queue.exceptions import ClaimStoreFailedError as ClaimStoreFailedError
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
from redis_message_queue.exceptions import DrainFailedError as DrainFailedError
from redis_message_queue.exceptions import MalformedStoredMessageError as MalformedStoredMessageError
from redis_message_queue.exceptions import PayloadTooDeepError as PayloadTooDeepError
from redis_message_queue.exceptions import PayloadTooLargeError as PayloadTooLargeError
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler, GracefulInterruptHandler
from redis_message_queue.interrupt_handler import EventDrivenInterruptHandler as EventDrivenInterruptHandler
from redis_message_queue.messages import ClaimedMessage, MessageData
from redis_message_queue.messages import CurrentMessage as CurrentMessage
from redis_message_queue.messages import current_message as current_message
from redis_message_queue.redis_message_queue import RedisMessageQueue
from redis_message_queue.redrive import RedriveProgress as RedriveProgress
from redis_message_queue.redrive import RepairReport as RepairReport
from redis_message_queue.stats import QueueStats as QueueStats

# The names of 7.0.0, in its order; later ones are importable beside them.
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
