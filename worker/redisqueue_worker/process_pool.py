"""Slots that are processes: a handler that hangs, leaks or crashes takes its own process along, no other."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from redis_message_queue._clock import monotonic
from redisqueue_worker.batch_handlers import Called
from redisqueue_worker.batching import may_stop
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.handlers import type_of
from redisqueue_worker.hooks import HookError
from redisqueue_worker.in_flight import InFlight
from redisqueue_worker.metrics import VARIABLE
from redisqueue_worker.orphans import marks
from redisqueue_worker.process_child import (
    Begin,
    BeginBatch,
    Ended,
    Extended,
    Ready,
    Stacks,
    Start,
    TellStacks,
    Update,
)
from redisqueue_worker.retry_policy import Failure, FailureKind, HandlerTimeout, failure_of
from redisqueue_worker.signals import warn_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from redisqueue_worker.batching import Batch
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.executors import Done
    from redisqueue_worker.metrics_page import SlotMetrics
    from redisqueue_worker.settings import Settings


log = logging.getLogger(__name__)

# How often a busy slot looks whether its process still lives, and tells it what changed.
LOOK_SECONDS = 0.5
END_SECONDS = 6.0
# A handler's import may take long; one that never ends must not hold its message for ever.
START_SECONDS = 120.0
# A process that dies before it is ready would most likely die again at once.
START_PAUSE_SECONDS = 1.0


class ProcessDied(Exception):
    """The process of a handler ended before its handler did."""


class ChildProcess:
    """One process, and this side of the pipe to it."""

    def __init__(self, settings: Settings, metrics: SlotMetrics | None) -> None:
        self._metrics = metrics
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            command = [sys.executable, "-m", "redisqueue_worker.cli", "slot", str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603  (ourselves)
                command,
                pass_fds=(theirs.fileno(), *marks()),
                stdin=subprocess.DEVNULL,
                process_group=0,
                env={**os.environ, **({VARIABLE: str(metrics.folder)} if metrics else {})},
            )
        self._lock = threading.Lock()
        self._messages: list[InFlight] | None = None
        self.is_ready = False
        self.taken: tuple[str, ...] = ()
        self.policies: Mapping[str, EffectivePolicy] = {}
        self.recycle_reason = ""
        with contextlib.suppress(OSError):  # it died at once: whoever waits for it will notice
            self._connection.send(Start.of(settings))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Raises HandlerError or HookError as the process found it, ProcessDied when it is never ready."""
        deadline = monotonic() + START_SECONDS
        try:
            while not self.is_ready:
                self._next_word()
                if monotonic() > deadline:
                    self._kill()
        except (EOFError, OSError):
            raise ProcessDied(self._cause_of_death()) from None

    def handle(self, message: InFlight) -> Failure | None:
        """How the handler failed on `message`, by ProcessDied when the process ended meanwhile."""
        ended = self._run([message])
        if isinstance(ended, Failure):
            return ended
        message.context.result = ended.result
        return ended.failure

    def handle_batch(self, messages: list[InFlight]) -> Called:
        """What one call of the handler says of these; where the process has ended, a part may do better."""
        ended = self._run(messages, is_batch=True)
        if isinstance(ended, Failure):
            died = self.is_ready and ended.kind is FailureKind.ERROR
            return Called.failed(ended, len(messages), divisible=died)
        for message, result in zip(messages, ended.results, strict=True):
            message.context.result = result
        assert ended.called is not None  # noqa: S101  (it was asked for a batch)
        return ended.called

    def _run(self, messages: list[InFlight], *, is_batch: bool = False) -> Ended | Failure:
        """Have the process handle these, or how that failed."""
        try:
            self.wait_until_ready()
            self._messages = messages
            for message in messages:
                message.begin(lambda: self._kill_over(messages))
                message.pid = self.pid
            ended = self._converse(messages, is_batch=is_batch)
        except (HandlerError, HookError, ProcessDied) as problem:  # from `wait_until_ready`
            return failure_of(problem)
        except Exception:  # the pipe has ended, or the handler wrote to it
            cause = self._cause_of_death()  # it has died then: no other message goes to it
            late = [message.age_seconds for message in messages if message.timed_out_at is not None]
            return failure_of(HandlerTimeout(max(late)) if late else ProcessDied(cause))
        finally:
            with self._lock:
                self._messages = None
            for message in messages:
                message.pid = None
        self.recycle_reason = ended.recycle_reason
        for message, seen in zip(messages, ended.has_seen_cancellation, strict=True):
            message.context.has_seen_cancellation = seen
        return ended

    def end(self) -> None:
        """Let it run its shut-down hooks and leave; kill it when that takes long."""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._connection.send(None)
            self._process.wait(END_SECONDS)
        self._kill()
        self._process.wait()
        self._connection.close()
        if self._metrics:
            self._metrics.ended(self.pid)

    def _converse(self, messages: list[InFlight], *, is_batch: bool) -> Ended:
        """Hand messages over and listen until their handler has ended. Raises EOFError or OSError."""
        told = _update_of(messages)
        begins = tuple(map(_begin_of, messages))
        self._connection.send(BeginBatch(begins) if is_batch else begins[0])
        while not isinstance(word := self._next_word(), Ended):
            if isinstance(word, Stacks):
                for message, stack in zip(messages, word.stacks, strict=True):
                    if message.question:
                        message.question.answer(stack)
            self._ask(messages)
            if isinstance(word, Extended):
                for message in messages:
                    message.context.extend(word.seconds)
            if (news := _update_of(messages)) != told:
                self._connection.send(news)
                told = news
        return word

    def _ask(self, messages: list[InFlight]) -> None:
        """Have the process tell where its handler is, if somebody wants to know."""
        asked = [message.question for message in messages if message.question and not message.question.sent]
        for question in asked:
            question.sent = True
        if asked:
            self._connection.send(TellStacks())

    def _next_word(self) -> Any:
        """The next word, or None after a while. Raises EOFError when none can come, or a start's problem."""
        dead = not self.alive  # looked at before the pipe: its last word counts
        if not self._connection.poll(0 if dead else LOOK_SECONDS):
            if dead:
                raise EOFError
            return None
        word = self._connection.recv()
        if isinstance(word, Ready):
            self.is_ready = True
            self.taken, self.policies = word.taken, word.policies
            if word.problem:
                raise word.problem
        return word

    def _kill_over(self, messages: list[InFlight]) -> None:
        """Kill the process if it is still at these messages."""
        with self._lock:
            if self._messages is messages and may_stop(messages):
                self._kill()

    def _kill(self) -> None:
        """End it and all that its handlers have started, which are one group with it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # it closed the pipe and lives on
            self._kill()
            code = self._process.wait()
        when = "" if self.is_ready else " before it was ready"
        if code >= 0:
            return f"the handler's process left with exit code {code}{when}"
        hint = " (out of memory, perhaps)" if code == -signal.SIGKILL else ""
        return f"the handler's process was killed by {signal.Signals(-code).name}{hint}{when}"


def _begin_of(message: InFlight) -> Begin:
    claim, context = message.claim, message.context
    return Begin(
        claim.payload,
        claim.id,
        claim.delivery_count,
        context.remaining_seconds,
        context.draining,
        context.lease_lost,
        message.cancelled,
    )


def _update_of(messages: Sequence[InFlight]) -> Update:
    return Update(
        messages[0].context.draining,
        tuple([message.context.lease_lost for message in messages]),
        tuple([message.cancelled for message in messages]),
    )


class ProcessPool:
    """A thread for each slot, which hands messages to a process and replaces it when it dies or wants it.

    Args:
        warm: how many processes to start with (default: one for each slot); others start when needed.

    Attributes:
        policies: what holds for each type, where handlers say that themselves.

    Raises HandlerError or HookError when the handler cannot be used.
    """

    kind = "processes"
    can_cancel = True

    def __init__(
        self, settings: Settings, done: Done, metrics: SlotMetrics | None = None, warm: int | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._done = done
        self.context = contextvars.copy_context()
        self._work: queue.SimpleQueue[InFlight | Batch | None] = queue.SimpleQueue()
        count = settings.concurrency
        children = [ChildProcess(settings, metrics) for _ in range(warm or count)]
        try:
            children[0].wait_until_ready()
        except ProcessDied as problem:
            raise HandlerError(f"{settings.handler!r}: {problem}") from None
        if taken := children[0].taken:  # the others import the same
            warn_of(taken)
        self.policies = children[0].policies
        # None is a place without a process. The last that ended goes on first: no more run than are needed.
        self._free: queue.LifoQueue[ChildProcess | None] = queue.LifoQueue()
        for place in (*[None] * (count - len(children)), *reversed(children)):
            self._free.put(place)
        self._all_ended = threading.Barrier(count)
        self._threads = [
            threading.Thread(target=self._serve, name=f"process-slot-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def start(self, messages: Sequence[InFlight]) -> None:
        for message in messages:
            message.queued = True
            self._work.put(message)

    def start_batch(self, batch: Batch) -> None:
        """Run its handler on all of its messages, in one process as long as that lives."""
        self._work.put(batch)

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Nothing: hooks are the processes' own."""
        coroutine.close()
        return None

    def close(self) -> None:
        for _ in self._threads:
            self._work.put(None)
        deadline = monotonic() + END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _serve(self) -> None:
        while (message := self._work.get()) is not None:
            if not isinstance(message, InFlight):
                message.run(self._call_batch)
                continue
            if message.cancelled:  # before a slot began with it
                self._done(message, failure_of(asyncio.CancelledError()))
                continue
            self._find_policy(message)
            child = self._living_child()
            failure = child.handle(message)
            if child.is_ready and child.alive and not child.recycle_reason:
                self._free.put(child)  # before it is done: the next message finds it
                self._done(message, failure)
                continue
            self._done(message, failure)
            if not child.is_ready:
                time.sleep(START_PAUSE_SECONDS)
            reason = child.recycle_reason or (failure.text if failure else "it died")
            self._free.put(self._replaced(child, reason))
        if last := self._free.get():
            last.end()
        with contextlib.suppress(threading.BrokenBarrierError):  # Linux ends a process with its thread
            self._all_ended.wait(END_SECONDS)

    def _living_child(self) -> ChildProcess:
        child = self._free.get() or self._started()
        if not child.alive or child.recycle_reason:
            child = self._replaced(child, child.recycle_reason or "it died")
        return child

    def _call_batch(self, messages: list[InFlight]) -> Called:
        """One call; a process that died or wants to be replaced is, when the next message comes."""
        child = self._living_child()
        called = child.handle_batch(messages)
        if not child.is_ready:
            time.sleep(START_PAUSE_SECONDS)
        self._free.put(child)
        return called

    def _find_policy(self, message: InFlight) -> None:
        """What holds for its type, if nobody knows yet; the process says what is wrong with it."""
        if self.policies and message.retries is None:
            with contextlib.suppress(Exception):
                message.follow(self.policies[type_of(message.claim.payload)])

    def _replaced(self, child: ChildProcess, reason: str) -> ChildProcess:
        child.end()
        fresh = self._started()
        log.info("process replaced", extra={"old": child.pid, "new": fresh.pid, "reason": reason})
        return fresh

    def _started(self) -> ChildProcess:
        while True:
            try:
                return ChildProcess(self._settings, self._metrics)
            except OSError as error:  # no memory or no descriptors left, which may pass
                log.warning("no process can be started, trying again", extra={"error": str(error)})
                time.sleep(START_PAUSE_SECONDS)
