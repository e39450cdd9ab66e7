"""What a thread does otherwise than a task: the same names as in `redis_message_queue.asyncio._io`."""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis_message_queue import _callbacks, _clock, client_checks
from redis_message_queue._callbacks import WrongHandlerError
from redis_message_queue.validation import check_sync_callable

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue._processing import Processing
    from redis_message_queue._timer import LeaseHeartbeat

T = TypeVar("T")
OTHER_PACKAGE = "redis_message_queue.asyncio"
_EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit, WrongHandlerError)

caller = threading.get_ident
now = _clock.moment
in_time = _clock.in_thread
call_event = call_plain = _callbacks.call_plain
call_handler = partial(_callbacks.call_plain, name="the handler", error=WrongHandlerError)
call_key = partial(_callbacks.call_plain, name="'get_deduplication_key'")
check_callback = check_event_callback = check_sync_callable
check_face = partial(client_checks.check_face, asyncio=False, name="client")
check_client = partial(client_checks.check_client, asyncio=False)


def is_unprobed(client: Any) -> bool:
    """Whether it is still to be found out if the server is a node of a cluster."""
    return not client_checks.probed_cluster_node(client)


def aborts(error: BaseException) -> bool:
    """True for what ends the work without settling it: an exit."""
    return isinstance(error, _EXITS)


def sleep(seconds: float) -> None:
    """Do nothing for that long."""
    time.sleep(seconds)


def within(seconds: float | None, action: Callable[[], T]) -> T | None:
    """Call `action`; None if it takes longer than that, and then it goes on in a thread of its own."""
    if seconds is None or seconds <= 0:
        return action()
    outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def work() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="redis-message-queue-drain", daemon=True).start()
    concurrent.futures.wait((outcome,), seconds)
    return outcome.result() if outcome.done() else None


def fail(message: Processing, error: BaseException) -> None:
    """Settle a failure."""
    message.fail(error)


def stop_heartbeat(heartbeat: LeaseHeartbeat, message: Processing, *, cancellable: bool) -> None:  # noqa: ARG001
    """End the renewals, waiting for one on its way; `cancellable` concerns tasks alone."""
    if not heartbeat.stop():
        message.heartbeat_stuck()
