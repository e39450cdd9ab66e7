"""Where handlers run: threads for sync ones, tasks on one event loop for async ones, processes for either."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import logging
import queue
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from redis_message_queue._clock import timeout
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.logs import type_name
from redisqueue_worker.retry_policy import Failure, FailureKind, HandlerTimeout, failure_of
from redisqueue_worker.signals import forks_end_here

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from redisqueue_worker.batching import Batch
    from redisqueue_worker.context import Context
    from redisqueue_worker.handler_policy import Slots
    from redisqueue_worker.handlers import Handler, Target
    from redisqueue_worker.health import Pulse


log = logging.getLogger(__name__)

# The variable of the standard library that holds a decimal context.
_DECIMALS = "decimal_context"


def own_state() -> AbstractContextManager[Any] | None:
    """Give the current context a decimal context of its own; a Sentry scope for what runs in it, if any.

    Each message is handled in a copy of its slots' context, in which start-up hooks ran. A copy shares the
    objects that variables hold, though, and some libraries keep one that is meant to be changed.
    """
    for variable in contextvars.copy_context():
        if variable.name == _DECIMALS:  # else each message gets one of its own when it first needs it
            decimal.setcontext(decimal.getcontext().copy())
    scope = getattr(sys.modules.get("sentry_sdk"), "isolation_scope", None)
    return scope() if scope else None


BEAT_SECONDS = 1.0
MIXED = "threads and tasks"
T = TypeVar("T")

# Told once per message, from the slot's thread: the message, and how its handler failed (None: it did not).
Done = Callable[[InFlight, Failure | None], None]


class Executor(Protocol):
    """Where handlers run.

    Attributes:
        context: the context of hooks, of which each message gets a copy.
    """

    kind: str
    can_cancel: bool
    context: contextvars.Context

    def start(self, messages: Sequence[InFlight]) -> None:
        """Run the handler on each; the caller starts no more than there are slots."""

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Run a coroutine where handlers of its kind run, to its end; what it returns or raises."""

    def close(self) -> None:
        """Let idle slots end; nothing is started afterwards."""


def failure_in(handler: Target, payload: str | bytes, context: Context) -> Failure | None:
    """Call the handler to its end; how it failed. Never raises."""
    try:
        with forks_end_here():
            if scope := own_state():
                with scope:
                    returned = handler.call(payload, context)
            else:
                returned = handler.call(payload, context)
            if context.keeps_result:
                context.keep(returned)
    except BaseException as error:
        return failure_of(error)
    return None


async def failure_in_async(handler: Target, payload: str | bytes, context: Context) -> Failure | None:
    """The same of an async handler. The event loop never sees what it raised, and so asks it nothing."""
    context.task = asyncio.current_task()
    try:
        with forks_end_here():
            if scope := own_state():
                with scope:
                    returned = await handler.call(payload, context)
            else:
                returned = await handler.call(payload, context)
            if context.keeps_result:
                context.keep(returned)
    except BaseException as error:
        return failure_of(error)
    return None


def chosen_for(handler: Handler, payload: str | bytes) -> Handler:
    """What the message is for. Where nothing is, the handler itself, which fails for it as a sync one."""
    try:
        return handler.chosen_for(payload)
    except Exception:
        return handler


def hide(task: asyncio.Task[Any]) -> None:
    """Keep it out of `asyncio.all_tasks()`: a handler that cancels or awaits all of them means its own."""
    asyncio.tasks._unregister_task(task)  # noqa: SLF001  (documented for those who extend asyncio)


def run_to_end(
    runner: asyncio.Runner,
    coroutine: Coroutine[Any, Any, T],
    context: contextvars.Context | None = None,
    *,
    interruptible: bool = False,
) -> T:
    """Run a coroutine as `runner.run` does, whatever becomes of the tasks beside it.

    An exit that a task asks for, or a stop of the loop, would end the loop for all that runs on it.

    Args:
        interruptible: Ctrl-C cancels the coroutine, which is waited for, and is raised.
    """
    loop = runner.get_loop()
    task = loop.create_task(coroutine, context=context)
    hide(task)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
            if task.done() or loop.is_closed():
                raise
            if interruptible and isinstance(error, KeyboardInterrupt):
                task.cancel()
                with contextlib.suppress(BaseException):  # however that ends, it was interrupted
                    loop.run_until_complete(task)
                raise
            log.warning("a task stopped the event loop: it goes on", extra={"error": type_name(error)})


def slots_for(handler: Handler) -> str:
    """The kind of slots that the handler was written for."""
    if handler.is_async is None:
        return MIXED
    return kind_of(is_async=handler.is_async)


def kind_of(*, is_async: bool) -> Slots:
    """Where a function runs that is not to have a process."""
    return "tasks" if is_async else "threads"


def slots_problem(wanted: str, handler: Handler) -> str | None:
    """Why the handler cannot run in the slots that the settings want; None when it can."""
    kind = slots_for(handler)
    if wanted in ("auto", "processes", kind):
        return None
    if handler.is_async is None:
        return f"'{wanted}' are for handlers of one kind, and there are def and async def; leave it out"
    return kind_problem(wanted, is_async=handler.is_async)


def kind_problem(wanted: str, *, is_async: bool) -> str | None:
    """Why a function cannot run there; None when it can."""
    kind = kind_of(is_async=is_async)
    if wanted in ("auto", "processes", kind):
        return None
    ours, theirs = ("async def", "def") if is_async else ("def", "async def")
    return f"'{wanted}' are for handlers with {theirs}, and this one has {ours}; use '{kind}' or leave it out"


def in_words(kinds: Collection[str]) -> str:
    """Each kind of slots that there is."""
    *others, last = (kind for kind in (ThreadExecutor.kind, TaskExecutor.kind, "processes") if kind in kinds)
    return f"{', '.join(others)} and {last}" if others else last


class ThreadExecutor:
    """`count` daemon threads: one that never comes back must not keep the process from leaving."""

    kind = "threads"
    can_cancel = False

    def __init__(self, handler: Handler, count: int, done: Done) -> None:
        self._handler = handler
        self._done = done
        self._work: queue.SimpleQueue[InFlight | Batch | None] = queue.SimpleQueue()
        self.context = contextvars.copy_context()
        self._runner = asyncio.Runner()  # one loop: what a start-up hook opens, a shut-down hook can close
        self._slot = threading.local()
        self._threads = [
            threading.Thread(target=self._serve, name=f"slot-{index}", daemon=True) for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def start(self, messages: Sequence[InFlight]) -> None:
        if getattr(self._slot, "is_free", False):  # its message has just ended, and this one takes its place
            self._slot.following = messages[0]
            return
        for message in messages:
            self._work.put(message)

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        return self._runner.run(coroutine, context=self.context)

    def close(self) -> None:
        self._runner.close()
        for _ in self._threads:
            self._work.put(None)

    def _serve(self) -> None:
        slot = self._slot
        slot.following = None
        while (message := slot.following or self._work.get()) is not None:
            slot.following = None
            if isinstance(message, InFlight) and message.cancelled:  # before a slot began with it
                self._done(message, failure_of(asyncio.CancelledError()))
            else:
                self._handle(message, self._handler)

    def _handle(self, message: Any, handler: Handler) -> None:
        failure = self.context.copy().run(failure_in, handler, message.claim.payload, message.context)
        self._slot.is_free = True
        try:
            self._done(message, failure)
        finally:
            self._slot.is_free = False


class TaskExecutor:
    """Tasks on one event loop in a thread of its own: a busy handler delays neither leases nor drain."""

    kind = "tasks"
    can_cancel = True

    def __init__(self, handler: Handler, done: Done, pulse: Pulse) -> None:
        self._handler = handler
        self._done = done
        self._pulse = pulse
        self.context = contextvars.copy_context()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="redisqueue-event-loop", daemon=True)
        self._thread.start()
        self._up.wait()

    def start(self, messages: Sequence[InFlight]) -> None:
        self.start_with(self._handler, messages)

    def start_with(self, handler: Handler, messages: Sequence[InFlight]) -> None:
        """Run this async handler on each."""
        if threading.current_thread() is self._thread:  # a task has ended, and this one takes its slot
            self._spawn(handler, messages)
        else:
            self._loop.call_soon_threadsafe(self._spawn, handler, messages)

    def begin(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine that nobody waits for."""

        def spawn() -> None:
            hide(self._loop.create_task(work(), context=self.context.copy()))

        self._loop.call_soon_threadsafe(spawn)

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        async def in_our_context() -> object:
            return await self._loop.create_task(coroutine, context=self.context)

        return asyncio.run_coroutine_threadsafe(in_our_context(), self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        with asyncio.Runner() as runner:
            run_to_end(runner, self._live())

    async def _live(self) -> None:
        """Beat until closed; the runner then cancels what handlers left behind."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._up.set()
        while not self._ended.is_set():
            self._pulse.beat()
            with contextlib.suppress(TimeoutError):
                async with timeout(BEAT_SECONDS):
                    await self._ended.wait()

    def _spawn(self, handler: Handler, messages: Sequence[InFlight]) -> None:
        for message in messages:
            task = self._loop.create_task(self._run(handler, message), context=self.context.copy())
            hide(task)
            message.cancel = partial(self._loop.call_soon_threadsafe, task.cancel)

    async def _run(self, handler: Handler, message: InFlight) -> None:
        if message.timed_out_at is None and not message.cancelled:
            failure = await failure_in_async(handler, message.claim.payload, message.context)
        else:  # before it began, as where the loop was blocked until its deadline had passed
            failure = failure_of(asyncio.CancelledError())
        if failure and failure.kind is FailureKind.CANCELLED and message.timed_out_at is not None:
            failure = failure_of(HandlerTimeout(message.age_seconds))
        self._done(message, failure)
