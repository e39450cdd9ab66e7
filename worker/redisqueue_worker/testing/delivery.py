"""One message, handled as a worker would: the same reading, the same calls, the same verdict; no Redis."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from redis_message_queue._clock import monotonic, timeout
from redis_message_queue.consumer import Claim, Outcome
from redisqueue_worker.exceptions import HandlerError, checked_seconds
from redisqueue_worker.executors import (
    chosen_for,
    failure_in,
    failure_in_async,
    hide,
    run_to_end,
)
from redisqueue_worker.handlers import handler_of, load, own_policies
from redisqueue_worker.headers import ENQUEUED_AT, TYPE, headers_of
from redisqueue_worker.in_flight import CANCEL_SECONDS
from redisqueue_worker.logs import trimmed
from redisqueue_worker.registry import Registry
from redisqueue_worker.retry_policy import (
    Failure,
    FailureKind,
    HandlerTimeout,
    RetryPolicy,
    failure_of,
    unless_unwanted,
)
from redisqueue_worker.testing.fake_context import (
    ContextFacts,
    Enqueued,
    FakeContext,
    at_least_one,
)
from redisqueue_worker.testing.sent import with_fields

if TYPE_CHECKING:
    from typing import Unpack

    from redisqueue_worker.context import Context
    from redisqueue_worker.handlers import Handler

log = logging.getLogger(__name__)

AnyHandler: TypeAlias = Callable[..., object] | Registry | str
State: TypeAlias = Literal["done", "retried", "dead", "failed", "cancelled"]
_TRACE = "trace"
_STATES: dict[Outcome, State] = {
    Outcome.DONE: "done",
    Outcome.RETRY: "retried",
    Outcome.DEAD: "dead",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message.

    Attributes:
        state: "done", "retried", "dead" (a dead letter), "cancelled", or "failed" (it goes to the failed
            list, as with `max_attempts=1`).
        value: what the handler returned.
        reason: why it is not done, in the words that the worker records; empty when it is.
        delay_seconds: how long a message that is retried waits.
        exception: what the handler raised, or what its payload was refused with, or HandlerTimeout.
        enqueued: what the handler enqueued and published.
    """

    state: State
    value: object = None
    reason: str = ""
    delay_seconds: float | None = None
    exception: BaseException | None = None
    enqueued: tuple[Enqueued, ...] = ()


class Facts(ContextFacts, total=False):
    """What `deliver` can be told beside the payload; all else is as in a worker without settings.

    Those of `FakeContext`, and:
        type: the payload's field `type`, which chooses the function of a registry.
        failures: how often the handler failed before (default: at each earlier delivery).
        max_attempts, max_delivery_count, retry_initial_seconds, retry_max_seconds: as the worker's settings;
            what `@handler` was told of them holds instead.

    Only `timeout_seconds` holds whatever `@handler` was told: no test has to wait for that.
    """

    type: str
    failures: int
    max_attempts: int
    max_delivery_count: int
    retry_initial_seconds: float
    retry_max_seconds: float


def deliver(handler: AnyHandler, payload: object, **facts: Unpack[Facts]) -> Delivery:
    """Handle one message as a worker would, and say what becomes of it.

    An `async def` runs on an event loop of its own. A `def` runs in this thread; with `timeout_seconds` in
    one of its own, which goes on when its time is over, since no thread can be stopped. Ctrl-C ends
    either, and is raised.

    Args:
        handler: a function or whatever else a worker takes: a method, a Registry, "module:function".
        payload: what a producer would `enqueue`.
        facts: see `Facts`.

    Raises HandlerError for a handler that no worker would start with, TypeError for a payload that cannot be
    enqueued, ValueError for a fact that cannot be, RuntimeError inside an event loop.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001  (the public one raises where there is none)
        raise RuntimeError("deliver() would block the event loop that runs here; use: await deliver_async(…)")
    message = Message(handler, payload, **known_facts(facts))
    return message.delivery(message.handled())


async def deliver_async(handler: AnyHandler, payload: object, **facts: Unpack[Facts]) -> Delivery:
    """As `deliver`, on the event loop that runs here; a `def` runs in a thread of its own."""
    message = Message(handler, payload, **known_facts(facts))
    return message.delivery(await message.handled_async())


def known_facts(facts: Facts) -> Facts:
    """The facts. Raises TypeError for a name that is none."""
    names = {**ContextFacts.__annotations__, **Facts.__annotations__}
    if unknown := facts.keys() - names.keys():
        raise TypeError(f"deliver() knows no fact {min(unknown)!r}; there are {', '.join(sorted(names))}")
    return facts


@dataclass(frozen=True, slots=True)
class _Worker:
    """The settings of the worker that a test has in mind. Raises ValueError for what none has."""

    max_attempts: int = 3
    max_delivery_count: int = 10
    retry_initial_seconds: float = 1.0
    retry_max_seconds: float = 300.0
    handler_timeout_seconds: float | None = None
    slots: str = "auto"
    concurrency: int = 1000

    def __post_init__(self) -> None:
        at_least_one("max_attempts", self.max_attempts)
        if self.max_delivery_count != 0:  # which is no limit
            at_least_one("max_delivery_count", self.max_delivery_count)
            self._check_order("max_attempts", "max_delivery_count")
        checked_seconds("retry_initial_seconds", self.retry_initial_seconds)
        checked_seconds("retry_max_seconds", self.retry_max_seconds)
        self._check_order("retry_initial_seconds", "retry_max_seconds")

    def _check_order(self, lesser: str, greater: str) -> None:
        less, more = getattr(self, lesser), getattr(self, greater)
        if less > more:
            raise ValueError(f"{lesser}: {less:g} must not exceed {greater}: {more:g}; give both")

    @property
    def retries(self) -> RetryPolicy:
        return RetryPolicy(self.max_attempts, self.retry_initial_seconds, self.retry_max_seconds)


class Message:
    """One message on its way through its handler. It stands before that as a `Handler`, and sees all.

    Attributes:
        exception: what that has raised.
    """

    def __init__(
        self,
        handler: AnyHandler,
        payload: object,
        *,
        failures: int | None = None,
        **facts: Any,
    ) -> None:
        worker = _Worker(**{name: facts.pop(name) for name in _Worker.__slots__ if name in facts})
        fields = {name: facts.pop(name) for name in (TYPE, ENQUEUED_AT, _TRACE) if name in facts}
        self.payload = with_fields(payload, **fields)
        ready = _ready(handler)
        policies = own_policies(ready, worker)
        self._handler = chosen_for(ready, self.payload)
        own = policies.get(self._handler.type)
        self.policy = own.retries if own else worker.retries
        if own:
            facts.setdefault("timeout_seconds", own.timeout_seconds)
        self.batching = own.batching if own else None
        context = FakeContext(**facts, **headers_of(self.payload)._asdict())
        self.failures = _failures(failures, context.delivery_count)
        self.begin(context, is_async=self._handler.is_async)

    def begin(self, context: Any, *, is_async: bool | None) -> None:
        """Its time counts from now."""
        self.context: FakeContext = context
        self.is_async = is_async
        self.value: object = None
        self.exception: BaseException | None = None
        self._began = monotonic()

    @property
    def many(self) -> Any:
        """Its handler, if that takes many messages."""
        return self._handler

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return (self._seconds_left() or 1) <= 0

    # ---- as a handler --------------------------------------------------------------

    def call(self, payload: str | bytes, context: Context) -> Any:
        """See `Handler.call`."""
        if self.is_async:
            return self._call_async(payload, context)
        with self._watched():
            self.value = self._handler.call(payload, context)
            return self.value

    async def _call_async(self, payload: str | bytes, context: Context) -> None:
        with self._watched():
            self.value = await self._handler.call(payload, context)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.exception = error
            raise

    # ---- where it runs -------------------------------------------------------------

    def handled(self) -> Failure | None:
        """Call the handler as a worker would, where no event loop runs; how it failed."""
        if self.is_async:
            with asyncio.Runner() as runner:
                return run_to_end(runner, self.in_a_task(), interruptible=True)
        if self.context.remaining_seconds is None:
            return contextvars.copy_context().run(self.handle)
        return self.in_a_thread()

    async def handled_async(self) -> Failure | None:
        """The same on the loop that runs here; a `def` runs in a thread of its own."""
        return await (self.in_a_task() if self.is_async else self.in_an_awaited_thread())

    def handle(self) -> Failure | None:
        """Call the handler to its end, here."""
        return failure_in(self, self.payload, self.context)

    def in_a_thread(self) -> Failure | None:
        """Call it in a thread, and wait for as long as it may take."""
        running = self._start()
        while (left := self._seconds_left()) is None or left > 0:
            with suppress(TimeoutError):
                return running.result(left)
        return self.timed_out()

    async def in_an_awaited_thread(self) -> Failure | None:
        """The same inside an event loop."""
        running = asyncio.wrap_future(self._start())
        while not await _over(running, self._seconds_left()):
            if (self._seconds_left() or 0) <= 0:
                return self.timed_out()
        return running.result()

    async def in_a_task(self) -> Failure | None:
        """Call an async handler; cancel it when its time is over."""
        ends: list[Failure | None] = []

        async def handle() -> None:
            ends.append(await failure_in_async(self, self.payload, self.context))

        task = asyncio.get_running_loop().create_task(handle(), context=contextvars.copy_context())
        hide(task)
        try:
            while not await _over(task, self._seconds_left()):
                if (self._seconds_left() or 0) <= 0:
                    task.cancel()
                    if not await _over(task, CANCEL_SECONDS):
                        return self.timed_out()
                    failure = ends[0] if ends else failure_of(asyncio.CancelledError())
                    is_cancelled = failure is not None and failure.kind is FailureKind.CANCELLED
                    return self.timed_out() if is_cancelled else failure
        except (asyncio.CancelledError, KeyboardInterrupt):  # as whoever waits here, so the handler
            task.cancel()
            await _over(task, CANCEL_SECONDS)
            raise
        return ends[0]

    def _start(self) -> Future[Failure | None]:
        """A thread that nobody has to wait for, as those of a worker."""
        running: Future[Failure | None] = Future()
        own = contextvars.copy_context()
        threading.Thread(
            target=lambda: running.set_result(own.run(self.handle)), name="deliver", daemon=True
        ).start()
        return running

    def _seconds_left(self) -> float | None:
        """Until its deadline, which it may move; None without one."""
        return self.context.remaining_seconds

    def timed_out(self) -> Failure:
        """It was over its time."""
        self.exception = HandlerTimeout(monotonic() - self._began)
        return failure_of(self.exception)

    # ---- what becomes of it --------------------------------------------------------

    def delivery(self, failure: Failure | None) -> Delivery:
        """The worker's verdict. Raises KeyboardInterrupt, which was meant for the tests."""
        if isinstance(self.exception, KeyboardInterrupt):
            raise self.exception
        context = self.context
        failure = unless_unwanted(failure, context)
        claim = Claim(
            self.payload, "", context.id, self.payload, context.delivery_count, failures=self.failures
        )
        verdict = self.policy.settlement(claim, failure)
        if failure and failure.detail:  # nobody asked for it: pytest shows it below a test that fails
            log.warning("not handled: %s", verdict.reason, exc_info=_shown(self.exception))
        is_retried = verdict.outcome is Outcome.RETRY
        return Delivery(
            _STATES[verdict.outcome],
            value=self.value,
            reason=verdict.reason,
            delay_seconds=verdict.delay_seconds if is_retried else None,
            exception=None if failure is None else self.exception,
            enqueued=context.enqueued,
        )


def _failures(given: int | None, deliveries: int) -> int:
    if given is not None and not 0 <= given < deliveries:
        raise ValueError(f"failures: {given!r} must be less than deliveries: {deliveries}, and at least 0")
    return deliveries - 1 if given is None else given


def _shown(error: BaseException | None) -> Any:
    """As `logging` wants it, from the handler's own code on."""
    return error and (type(error), error, trimmed(error.__traceback__))


async def _over(work: asyncio.Future[Any], seconds: float | None) -> bool:
    """Whether it comes to its end within that time; None: it is waited for."""
    if seconds is None:
        await asyncio.wait({work})
        return True
    with suppress(TimeoutError):
        async with timeout(seconds):
            await asyncio.wait({work})
    return work.done()


def _ready(handler: AnyHandler) -> Handler:
    """As a worker would start with it. Raises HandlerError."""
    if isinstance(handler, str):
        return load(handler)
    if isinstance(handler, Registry) and not handler:
        raise HandlerError("this Registry has no handler: import the module that fills it")
    return handler_of(handler, getattr(handler, "__qualname__", type(handler).__name__))
