"""The worker process of RedisQueue: runs a handler on the messages of one queue.

A handler's module imports from here what it needs: `Retry` and `DeadLetter` to raise, `Context` for its
annotation, `handler` to handle several types and `batch_handler` to handle many messages at once, `Backoff`
for the retries of one of them, `on_startup` and `on_shutdown` for what is done once per process, `around` for
what is done around each call of a handler. A producer may `stamp` what it publishes; a
`traced_producer` does, in a span of its own.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; importing `typing` would cost `drain` a third of its time
if TYPE_CHECKING:
    from redisqueue_worker.around_hooks import CallNext
    from redisqueue_worker.batch_handlers import BatchContext
    from redisqueue_worker.context import Context
    from redisqueue_worker.exceptions import DeadLetter, Retry
    from redisqueue_worker.handler_policy import Backoff
    from redisqueue_worker.headers import stamp
    from redisqueue_worker.hooks import around, on_shutdown, on_startup
    from redisqueue_worker.producer_tracing import traced_producer
    from redisqueue_worker.registry import Registry, batch_handler, handler

__all__ = [
    "Backoff",
    "BatchContext",
    "CallNext",
    "Context",
    "DeadLetter",
    "Registry",
    "Retry",
    "around",
    "batch_handler",
    "handler",
    "on_shutdown",
    "on_startup",
    "stamp",
    "traced_producer",
]

_HOMES = {
    "Backoff": "handler_policy",
    "BatchContext": "batch_handlers",
    "CallNext": "around_hooks",
    "Context": "context",
    "DeadLetter": "exceptions",
    "Registry": "handlers",
    "Retry": "exceptions",
    "around": "hooks",
    "batch_handler": "registry",
    "handler": "handlers",
    "on_shutdown": "hooks",
    "on_startup": "hooks",
    "stamp": "headers",
    "traced_producer": "producer_tracing",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for: `redisqueue-worker drain` must start without them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
