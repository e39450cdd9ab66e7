"""The queue for asyncio: the same names as in `redis_message_queue`."""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it
if TYPE_CHECKING:
    from redis_message_queue.asyncio._redis_gateway import AbstractRedisGateway, RedisGateway
    from redis_message_queue.asyncio.redis_message_queue import RedisMessageQueue
    from redis_message_queue.enqueue import Receipt as Receipt
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
    from redis_message_queue.interrupt_handler import (
        EventDrivenInterruptHandler as EventDrivenInterruptHandler,
    )
    from redis_message_queue.looking import Letter as Letter
    from redis_message_queue.looking import Location as Location
    from redis_message_queue.messages import ClaimedMessage, MessageData
    from redis_message_queue.messages import CurrentMessage as CurrentMessage
    from redis_message_queue.messages import MessagePayload as MessagePayload
    from redis_message_queue.messages import PublishPayload as PublishPayload
    from redis_message_queue.messages import ReceivedPayload as ReceivedPayload
    from redis_message_queue.messages import current_message as current_message
    from redis_message_queue.redrive import RedriveProgress as RedriveProgress
    from redis_message_queue.redrive import RepairReport as RepairReport
    from redis_message_queue.results import Result as Result
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

# Where each is; what stands here has a module in each face.
_FACES = ("_redis_gateway", "redis_message_queue")
_NAMES = {
    "_redis_gateway": ("AbstractRedisGateway", "RedisGateway"),
    "enqueue": ("Receipt",),
    "events": ("EventOperation", "EventOutcome", "QueueEvent"),
    "exceptions": (
        "ClaimStoreFailedError",
        "CleanupFailedError",
        "ConfigurationError",
        "GatewayContractError",
        "LuaScriptError",
        "QueueBackpressureError",
        "QueueDrainedError",
        "RedisMessageQueueError",
        "RetryBudgetExhaustedError",
        "DrainFailedError",
        "MalformedStoredMessageError",
        "PayloadTooDeepError",
        "PayloadTooLargeError",
    ),
    "interrupt_handler": (
        "BaseGracefulInterruptHandler",
        "GracefulInterruptHandler",
        "EventDrivenInterruptHandler",
    ),
    "looking": ("Letter", "Location"),
    "messages": (
        "ClaimedMessage",
        "MessageData",
        "CurrentMessage",
        "MessagePayload",
        "PublishPayload",
        "ReceivedPayload",
        "current_message",
    ),
    "redis_message_queue": ("RedisMessageQueue",),
    "redrive": ("RedriveProgress", "RepairReport"),
    "results": ("Result",),
    "stats": ("QueueStats",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a name, or a module, when it is asked for: a worker needs few, and its start is imports."""
    home = _HOMES.get(name)
    package = "redis_message_queue" if home and home not in _FACES else __name__
    try:
        module = import_module(f"{package}.{home or name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    globals()[name] = found = getattr(module, name) if home else module
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
