"""Many messages, handled as by a worker with a batch handler: gathered, called, cut where a call fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis_message_queue.consumer import Claim
from redisqueue_worker.batch_handlers import BatchContext, Called, called, called_async
from redisqueue_worker.batching import Batch, is_alone
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.retry_policy import Failure, FailureKind
from redisqueue_worker.testing.delivery import Message, known_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from redisqueue_worker.context import Context
    from redisqueue_worker.testing.delivery import AnyHandler, Delivery, Facts


def deliver_batch(handler: AnyHandler, payloads: Sequence[object], **facts: Unpack[Facts]) -> list[Delivery]:
    """Handle these messages as a worker with a batch handler would, and say what becomes of each, in order.

    They come together, in batches of `max_size` at most. A call that fails is repeated with each half of its
    messages, as in a worker. In each `Delivery`, `enqueued` has what all of them enqueued.

    Args:
        handler: a Registry or "module:name" with a `@batch_handler`, for which the fact `type` chooses.
        payloads: what a producer would `enqueue`, one for each message.
        facts: as for `deliver`, of all of them alike; with `message_id` "m" they are "m-1", "m-2" and so on.

    Raises TypeError for another handler, and whatever `deliver` raises.
    """
    if asyncio._get_running_loop() is not None:  # noqa: SLF001  (the public one raises where there is none)
        raise RuntimeError(
            "deliver_batch() would block the event loop that runs here; use: await deliver_batch_async(…)"
        )
    deliveries = _Deliveries(handler, payloads, facts)
    for batch in deliveries.batches():
        batch.run(deliveries.call)
    return deliveries.told


async def deliver_batch_async(
    handler: AnyHandler, payloads: Sequence[object], **facts: Unpack[Facts]
) -> list[Delivery]:
    """As `deliver_batch`, on the event loop that runs here; a `def` runs in a thread of its own."""
    deliveries = _Deliveries(handler, payloads, facts)
    for batch in deliveries.batches():
        parts = batch.parts()
        part = next(parts, None)
        while part is not None:
            told = await deliveries.call_async(part)
            try:
                part = parts.send(told)
            except StopIteration:
                part = None
    return deliveries.told


class _Deliveries:
    """The messages, and what became of each."""

    def __init__(self, handler: AnyHandler, payloads: Sequence[object], facts: Facts) -> None:
        prefix = facts.get("message_id", "message")
        known: dict[str, Any] = {**known_facts(facts)}
        self._messages = [
            Message(handler, payload, **{**known, "message_id": prefix and f"{prefix}-{number}"})
            for number, payload in enumerate(payloads, 1)
        ]
        self._ends: dict[int, Failure | None] = {}
        for message in self._messages:
            if message.batching is None:
                raise TypeError(f"{handler!r} has no @batch_handler for this message; use deliver()")
            message.context.share(self._messages[0].context)

    def batches(self) -> Iterator[Batch]:
        """As a worker would gather them."""
        waiting: list[InFlight] = []
        most = 0
        for message in self._messages:
            claim = Claim(message.payload, "", None, message.payload, 1)
            one = InFlight(claim, message.context)
            if is_alone(message.failures, message.policy):
                yield self._batch([one])
                continue
            waiting.append(one)
            most = message.batching.max_size if message.batching else 1
            if len(waiting) == most:
                yield self._batch(waiting)
                waiting = []
        if waiting:
            yield self._batch(waiting)

    def _batch(self, messages: list[InFlight]) -> Batch:
        first = self._of(messages[0].context)
        return Batch(first.many, messages, self._done)

    def _done(self, message: InFlight, failure: Failure | None) -> None:
        self._ends[id(message.context)] = failure

    def _of(self, context: Context) -> Message:
        return next(message for message in self._messages if message.context is context)

    def call(self, part: list[InFlight]) -> Called:
        """One call of the handler."""
        call = _WatchedCall([self._of(one.context) for one in part])
        return call.ended(call.handled())

    async def call_async(self, part: list[InFlight]) -> Called:
        """The same on the loop that runs here."""
        call = _WatchedCall([self._of(one.context) for one in part])
        return call.ended(await call.handled_async())

    @property
    def told(self) -> list[Delivery]:
        return [message.delivery(self._ends[id(message.context)]) for message in self._messages]


class _WatchedCall(Message):
    """One call with several messages. It stands before the handler, and sees all."""

    def __init__(self, messages: list[Message]) -> None:
        contexts = [message.context for message in messages]
        for context in contexts:
            context.restart_clock()
        self.payload = b""
        self._messages = messages
        self._many = messages[0].many
        self._read = 0
        self._told: Called | None = None
        self.begin(BatchContext(contexts), is_async=self._many.is_async)

    def ended(self, failure: Failure | None) -> Called:
        """What it says of each; `failure` when its time was over."""
        told = self._told
        shared = told.ends[told.shared[0]] if told and told.shared else None
        if (
            failure is None
            and told
            and not (shared and shared.kind is FailureKind.CANCELLED and self.is_late)
        ):
            return told
        late = failure or self.timed_out()
        for message in self._messages:
            message.exception = self.exception
        return Called.failed(late, len(self._messages), divisible=False)

    def call(self, _payload: str | bytes, _context: Context) -> Any:
        """See `Handler.call`."""
        payloads = [message.payload for message in self._messages]
        contexts = [message.context for message in self._messages]
        if self.is_async:
            return self._call_many_async(payloads, contexts)
        target: Any = self
        self._told = called(target, payloads, contexts)
        return None

    async def _call_many_async(self, payloads: list[bytes], contexts: Sequence[Context]) -> None:
        target: Any = self
        self._told = await called_async(target, payloads, contexts)

    # ---- as a batch handler --------------------------------------------------------

    def read(self, payload: str | bytes) -> Any:
        """See `BatchTarget.read`."""
        message = self._messages[self._read]
        self._read += 1
        try:
            return self._many.read(payload)
        except BaseException as error:
            message.exception = error
            raise

    def call_all(self, values: list[Any], context: BatchContext) -> Any:
        """See `BatchTarget.call_all`."""
        if self.is_async:
            return self._call_all_async(values, context)
        try:
            return self._took(self._many.call_all(values, context), context)
        except BaseException as error:
            self._raised(error, context)
            raise

    async def _call_all_async(self, values: list[Any], context: BatchContext) -> list[Any]:
        try:
            return self._took(await self._many.call_all(values, context), context)
        except BaseException as error:
            self._raised(error, context)
            raise

    def _took(self, outcomes: list[Any], context: BatchContext) -> list[Any]:
        for message, outcome in zip(self._those(context), outcomes, strict=True):
            is_failure = isinstance(outcome, BaseException)
            message.exception = outcome if is_failure else None
            message.value = None if is_failure else outcome
        return outcomes

    def _raised(self, error: BaseException, context: BatchContext) -> None:
        for message in self._those(context):
            message.exception = error

    def _those(self, context: BatchContext) -> Iterator[Message]:
        return (message for message in self._messages if message.context in context.contexts)
