"""Batches: how they fill, and how one that fails is cut until what is to blame is alone."""

from __future__ import annotations

import asyncio
import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from redis_message_queue._timer import Timer, timers
from redisqueue_worker.retry_policy import failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from redisqueue_worker.batch_handlers import BatchTarget, Called
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.executors import Done
    from redisqueue_worker.handler_policy import Batching
    from redisqueue_worker.in_flight import InFlight
    from redisqueue_worker.retry_policy import RetryPolicy

# Beyond the calls that it takes to come from all messages to one that is to blame.
_MORE_FAILURES = 3


class Bisection:
    """Which messages to call a handler with, by their places. Pure.

    A call that fails is repeated with each half of its messages, until one that fails is alone. Where nothing
    succeeds at all it is not the messages: after as many failures in a row as one message alone could cause,
    and a few more, all that are left have failed.
    """

    def __init__(self, count: int) -> None:
        self._waiting = [tuple(range(count))]
        self._most_failures = 1 + math.ceil(math.log2(count)) + _MORE_FAILURES
        self._failures = 0

    def next(self) -> tuple[int, ...]:
        """The places for the next call; none when it is over."""
        return self._waiting.pop() if self._waiting else ()

    def succeeded(self) -> None:
        """The last call has told of each."""
        self._failures = 0

    def failed(self, places: tuple[int, ...]) -> tuple[int, ...]:
        """These shared a failure; the places of all that have now failed for good."""
        self._failures += 1
        if self._failures >= self._most_failures:
            left, self._waiting = self._waiting, []
            return (*places, *(place for part in reversed(left) for place in part))
        if len(places) == 1:
            return places
        middle = len(places) // 2
        self._waiting += (places[middle:], places[:middle])
        return ()


def is_alone(failures: int, retries: RetryPolicy) -> bool:
    """Whether a message that failed so often has one attempt left: then it is no other's fault."""
    return 0 < failures >= retries.max_attempts - 1


class Batch:
    """Messages for one handler, oldest first.

    Args:
        done: told once of each message, as soon as it is known what becomes of it.
    """

    def __init__(self, handler: BatchTarget, messages: Sequence[InFlight], done: Done) -> None:
        self.handler = handler
        self._messages = sorted(messages, key=lambda message: message.started)
        self._done = done

    def run(self, call: Callable[[list[InFlight]], Called]) -> None:
        """Call a sync handler until all have come to an end; `call` never raises."""
        parts = self.parts()
        with suppress(StopIteration):
            part = next(parts)
            while True:
                part = parts.send(call(part))

    def parts(self) -> Generator[list[InFlight], Called, None]:
        """The messages of each call, which is to be answered by what it said."""
        bisection = Bisection(len(self._messages))
        while places := bisection.next():
            for place in (unwanted := [place for place in places if self._messages[place].cancelled]):
                self._done(self._messages[place], failure_of(asyncio.CancelledError()))
            places = tuple(place for place in places if place not in unwanted)
            if not places:
                continue
            part = [self._messages[place] for place in places]
            called = yield part
            for place, message in enumerate(part):
                if place not in called.shared:
                    self._done(message, called.ends[place])
            if not called.shared:
                bisection.succeeded()
                continue
            open_ones = tuple(places[place] for place in called.shared)
            for place in open_ones:  # until its next call no time counts
                self._messages[place].queued = True
            over = bisection.failed(open_ones) if called.divisible else open_ones
            for place in over:
                self._done(self._messages[place], called.ends[called.shared[0]])


def may_stop(part: Sequence[InFlight]) -> bool:
    """Whether a call is to be stopped: it is over its time, or alone and not wanted any more."""
    return len(part) == 1 or any(message.timed_out_at is not None for message in part)


class Collector(Timer):
    """Gathers the messages of one handler: a batch begins when it is full, or its first message has waited.

    Args:
        begin: has it run; called from any thread.
    """

    may_hang = False

    def __init__(self, batching: Batching, begin: Callable[[list[InFlight]], None]) -> None:
        self._batching = batching
        self._begin = begin
        self._lock = threading.Lock()
        self._filling: list[InFlight] = []

    def add(self, message: InFlight, policy: EffectivePolicy) -> None:
        """A message has come. At its last attempt it is alone, so that it fails for itself if at all."""
        message.queued = True
        if is_alone(message.claim.failures, policy.retries):
            self._begin([message])
            return
        with self._lock:
            self._filling.append(message)
            is_first, is_full = len(self._filling) == 1, len(self._filling) >= self._batching.max_size
        if is_full or message.context.draining:
            self.flush()
        elif is_first:
            try:
                timers.by(self, message.started + self._batching.max_wait_seconds)
            except RuntimeError:  # no thread can be started now: then nothing waits
                self.flush()

    def flush(self) -> None:
        """Begin with what has come so far."""
        with self._lock:
            batch, self._filling = self._filling, []
            timers.cancel(self)
        if batch:
            self._begin(batch)

    def fire(self) -> float:
        """The first one has waited for long enough."""
        self.flush()
        return math.inf
