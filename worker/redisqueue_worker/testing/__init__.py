"""For tests of handlers: one message as a worker would handle it, a context without a worker, a real worker.

The fixtures for pytest are in `pytest_plugin`, which pytest finds by itself. `worker/docs/testing.md` shows
all of it in use.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it: pytest imports this package at each of its starts
if TYPE_CHECKING:
    from redisqueue_worker.testing.batch_delivery import deliver_batch, deliver_batch_async
    from redisqueue_worker.testing.delivery import Delivery, deliver, deliver_async
    from redisqueue_worker.testing.fake_context import Enqueued, FakeContext
    from redisqueue_worker.testing.worker_run import (
        Outcomes,
        RunWorker,
        WorkerFailed,
        run_worker_until_empty,
    )

__all__ = [
    "Delivery",
    "Enqueued",
    "FakeContext",
    "Outcomes",
    "RunWorker",
    "WorkerFailed",
    "deliver",
    "deliver_async",
    "deliver_batch",
    "deliver_batch_async",
    "run_worker_until_empty",
]

_HOMES = {
    "Delivery": "delivery",
    "Enqueued": "fake_context",
    "FakeContext": "fake_context",
    "Outcomes": "worker_run",
    "RunWorker": "worker_run",
    "WorkerFailed": "worker_run",
    "deliver": "delivery",
    "deliver_async": "delivery",
    "deliver_batch": "batch_delivery",
    "deliver_batch_async": "batch_delivery",
    "run_worker_until_empty": "worker_run",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
