"""Where handlers of several kinds run side by side, and those that take many messages at once."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from redisqueue_worker.executors import MIXED, TaskExecutor, ThreadExecutor, chosen_for, hide, in_words
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.retry_policy import FailureKind, HandlerTimeout, failure_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from redisqueue_worker.batch_handlers import Called
    from redisqueue_worker.batching import Batch, Collector
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.executors import Done
    from redisqueue_worker.handlers import Handler
    from redisqueue_worker.health import Pulse
    from redisqueue_worker.process_pool import ProcessPool


GATHERER = "redisqueue-batches"


class MixedExecutor(ThreadExecutor):
    """Threads beside an event loop and processes: a thread reads which function a message is for.

    There are as many threads as messages at once, so one is always free to hand over what runs elsewhere.

    Args:
        policies: what holds for each type, where handlers say that themselves.
        processes: for those that want one.
    """

    kind = MIXED
    can_cancel = True

    def __init__(
        self,
        handler: Handler,
        count: int,
        done: Done,
        pulse: Pulse,
        policies: Mapping[str, EffectivePolicy] | None = None,
        processes: ProcessPool | None = None,
    ) -> None:
        self._policies = policies or {}
        self._processes = processes
        if policies:
            self.kind = in_words({policy.slots for policy in policies.values()})
        self._tasks = TaskExecutor(handler, done, pulse)
        self._collectors: dict[str, Collector] = {}
        super().__init__(handler, count, done)
        self.context = self._tasks.context
        for name, policy in self._policies.items():
            if policy.batching:
                from redisqueue_worker.batching import Collector  # noqa: PLC0415  (few have any)

                self._collectors[name] = Collector(policy.batching, partial(self._begin, policy))
        self._incoming: queue.SimpleQueue[Sequence[InFlight] | None] = queue.SimpleQueue()
        if self._collectors:
            threading.Thread(target=self._gather, name=GATHERER, daemon=True).start()

    def start(self, messages: Sequence[InFlight]) -> None:
        if self._collectors:
            self._incoming.put(messages)
        else:
            super().start(messages)

    def _gather(self) -> None:
        """Give each collector its messages, in their order, and the slots all others."""
        while (messages := self._incoming.get()) is not None:
            for message in messages:
                chosen = self.context.copy().run(chosen_for, self._handler, message.claim.payload)
                if collector := self._collectors.get(chosen.type):
                    policy = self._policies[chosen.type]
                    message.follow(policy)
                    collector.add(message, policy)
                else:
                    self._work.put(message)

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        return self._tasks.run(coroutine)

    def close(self) -> None:
        self._incoming.put(None)
        super().close()
        self._tasks.close()
        if self._processes:
            self._processes.close()

    def hurry(self) -> None:
        """No more messages come: batches begin with what they have."""
        for collector in self._collectors.values():
            collector.flush()

    def _begin(self, policy: EffectivePolicy, messages: list[InFlight]) -> None:
        """Have a batch run where its handler does."""
        from redisqueue_worker.batching import Batch  # noqa: PLC0415

        first = messages[0].claim.payload
        handler: Any = self.context.copy().run(chosen_for, self._handler, first)
        batch = Batch(handler, messages, self._done)
        if policy.slots == "processes" and self._processes:
            self._processes.start_batch(batch)
        elif handler.is_async:
            self._tasks.begin(partial(self._handle_batch_async, batch))
        else:
            self._work.put(batch)

    def _handle_batch(self, batch: Batch) -> None:
        from redisqueue_worker.batch_handlers import called  # noqa: PLC0415

        def call(part: list[InFlight]) -> Called:
            for message in part:
                message.begin(None)
            payloads = [message.claim.payload for message in part]
            contexts = [message.context for message in part]
            return self.context.copy().run(called, batch.handler, payloads, contexts)

        batch.run(call)

    async def _handle_batch_async(self, batch: Batch) -> None:
        """The same with an async handler, on the event loop."""
        from redisqueue_worker.batch_handlers import Called, called_async  # noqa: PLC0415
        from redisqueue_worker.batching import may_stop  # noqa: PLC0415

        loop = asyncio.get_running_loop()

        def stop(part: list[InFlight], task: asyncio.Task[Called]) -> None:
            if may_stop(part):
                loop.call_soon_threadsafe(task.cancel)

        parts = batch.parts()
        with contextlib.suppress(StopIteration):
            part = next(parts)
            while True:
                contexts = [message.context for message in part]
                work = called_async(batch.handler, [one.claim.payload for one in part], contexts)
                task = loop.create_task(work, context=self.context.copy())
                hide(task)
                for message in part:
                    message.begin(partial(stop, part, task))
                await asyncio.wait({task})
                failure = failure_of(asyncio.CancelledError())  # before it began
                told = (
                    Called.failed(failure, len(part), divisible=False) if task.cancelled() else task.result()
                )
                part = parts.send(_in_time(told, part))

    def _handle(self, message: Any, handler: Handler) -> None:
        if not isinstance(message, InFlight):
            self._handle_batch(message)
            return
        chosen = self.context.copy().run(chosen_for, handler, message.claim.payload)
        policy = self._policies.get(chosen.type)
        if policy:
            message.follow(policy)
        if policy and policy.slots == "processes" and self._processes:
            self._processes.start([message])
        elif chosen.is_async:
            self._tasks.start_with(chosen, [message])
        else:
            super()._handle(message, chosen)


def _in_time(called: Called, part: Sequence[InFlight]) -> Called:
    """The same, or that the call was over its time where that has ended it."""
    shared = called.ends[called.shared[0]] if called.shared else None
    late = [message.age_seconds for message in part if message.timed_out_at is not None]
    if not late or shared is None or shared.kind is not FailureKind.CANCELLED:
        return called
    timeout = failure_of(HandlerTimeout(max(late)))
    ends = (timeout if place in called.shared else end for place, end in enumerate(called.ends))
    return called._replace(ends=tuple(ends))
