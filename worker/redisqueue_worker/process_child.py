"""The process of one slot: it handles one message at a time, and ends with the worker that started it.

Run as `redisqueue-worker slot FD`, where FD is its end of the pipe to the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import pickle
import queue
import random
import signal
import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from redisqueue_worker import logs
from redisqueue_worker.batch_handlers import Called, called, called_async
from redisqueue_worker.context import Context, Publisher
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.executors import chosen_for, failure_in, failure_in_async, run_to_end
from redisqueue_worker.handlers import Handler, load, own_policies
from redisqueue_worker.hooks import HookError, hooks
from redisqueue_worker.restart import Recycler, RestartLimits
from redisqueue_worker.shutdown import LEFTOVER_SECONDS, leave_at_once, leave_within, run_atexit
from redisqueue_worker.signals import Takeovers
from redisqueue_worker.stacks import stack_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.retry_policy import Failure
    from redisqueue_worker.settings import Settings


class Start(NamedTuple):
    """To the process, the first word: what to be.

    Attributes:
        settings: without the connection.
        connection: pickled: to read it would import the client, which only handlers that publish need.
    """

    settings: Settings
    connection: bytes

    @classmethod
    def of(cls, settings: Settings) -> Start:
        nothing: Any = None
        return cls(settings._replace(connection=nothing), pickle.dumps(settings.connection))

    def connect(self) -> redis.Redis | redis.RedisCluster:
        """A client for what handlers publish."""
        found: ConnectionSettings = pickle.loads(self.connection)  # noqa: S301  (the worker's own)
        return found.connect()


class Begin(NamedTuple):
    """To the process: handle this. It answers with Extended, as often as it likes, and then Ended."""

    payload: str | bytes
    id: str | None
    delivery_count: int
    remaining_seconds: float | None
    draining: bool = False
    lease_lost: bool = False
    cancelled: bool = False


class BeginBatch(NamedTuple):
    """To the process: call the handler once with all of these, which are for one. It answers alike."""

    messages: tuple[Begin, ...]


class Update(NamedTuple):
    """To the process: what changed for the messages that it has in hand."""

    draining: bool
    lease_lost: tuple[bool, ...]
    cancelled: tuple[bool, ...]


class Ready(NamedTuple):
    """From the process, its first word: the handler is there, or `problem` says why not.

    Attributes:
        taken: what the handler's code took over at its import and its start-up hooks.
        policies: what holds for each type, where handlers say that themselves.
    """

    problem: Exception | None = None
    taken: tuple[str, ...] = ()
    policies: Mapping[str, EffectivePolicy] = {}


class Extended(NamedTuple):
    """From the process: the handler moved its deadline."""

    seconds: float


class Ended(NamedTuple):
    """From the process: the handler returned, or failed.

    Attributes:
        recycle_reason: why the process wants to be replaced; empty when it does not.
        result: the text of what the handler returned, where results are kept.
        called: what is told of a batch, and in `results` the same of each message.
        has_seen_cancellation: of each message, whether the handler asked once it was cancelled.
    """

    failure: Failure | None
    recycle_reason: str
    result: str = ""
    called: Called | None = None
    results: tuple[str, ...] = ()
    has_seen_cancellation: tuple[bool, ...] = ()


class TellStacks(NamedTuple):
    """To the process: tell where its handler is. It answers with Stacks, if it can."""


class Stacks(NamedTuple):
    """From the process: the stack of its handler, for each message in hand."""

    stacks: tuple[Sequence[str], ...]


_PR_SET_PDEATHSIG = 1


class _ChildContext(Context):
    """A context whose deadline is kept on the other side of the pipe."""

    def __init__(
        self, work: Begin, draining: threading.Event, publisher: Publisher, send: Any, *, keeps_result: bool
    ) -> None:
        super().__init__(
            id=work.id,
            delivery_count=work.delivery_count,
            timeout_seconds=work.remaining_seconds,
            draining=draining,
            publisher=publisher,
            payload=work.payload,
            keeps_result=keeps_result,
        )
        self._send = send

    def extend(self, seconds: float) -> None:
        super().extend(seconds)
        self._send(Extended(seconds), self)


class ProcessChild:
    """The loop of the process: the main thread runs handlers, a second one listens to the worker."""

    def __init__(self, connection: Connection, start: Start) -> None:
        settings = start.settings
        self._connection = connection
        self._publisher = Publisher(start.connect, settings.queue, settings.key_separator)
        self._settings = settings
        self._limits = RestartLimits.of(settings, random.random())  # noqa: S311  (spreads load, hides nothing)
        self._work: queue.SimpleQueue[tuple[Begin | BeginBatch, tuple[Context, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._draining = threading.Event()
        self._contexts: tuple[Context, ...] = ()  # of what is in hand, until its Ended
        self._sending = threading.Lock()
        self._base = contextvars.copy_context()  # what the handler's module set while it was imported

    def serve(self, handler: Handler, takeovers: Takeovers) -> None:
        """Begin messages until the worker wants no more. Raises HandlerError or HookError at the start."""
        policies = own_policies(handler, self._settings)
        taken = takeovers.undo()
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        with asyncio.Runner() as runner:
            run = partial(runner.run, context=self._base)
            hooks.start(run, self._base)
            taken += takeovers.undo()
            self._send(Ready(taken=tuple(dict.fromkeys(taken)), policies=policies))
            handled = 0
            recycler = Recycler(self._limits)
            recycler.reached(handled)  # which warns of a limit that is too small
            while (work := self._work.get()) is not None:
                begin, contexts = work
                if isinstance(begin, BeginBatch):
                    ended = self._handle_batch(handler, begin, contexts, runner)
                else:
                    failure = self._handle(handler, begin, contexts[0], runner)
                    ended = Ended(failure, "", contexts[0].result)
                handled += len(contexts)
                takeovers.undo()
                seen = tuple([context.has_seen_cancellation for context in contexts])
                reason = recycler.reached(handled)
                self._end(ended._replace(recycle_reason=reason, has_seen_cancellation=seen))
            hooks.stop(run, self._base)

    def _handle(
        self, handler: Handler, work: Begin, context: Context, runner: asyncio.Runner
    ) -> Failure | None:
        own = self._base.copy()
        if handler.is_async is None:
            handler = own.run(chosen_for, handler, work.payload)
        if handler.is_async:
            ends: list[Failure | None] = []

            async def handle() -> None:
                ends.append(await failure_in_async(handler, work.payload, context))

            with contextlib.suppress(asyncio.CancelledError):  # it cancelled its own task, and went on
                run_to_end(runner, handle(), own)
            return ends[0]
        return own.run(failure_in, handler, work.payload, context)

    def _handle_batch(
        self, handler: Handler, work: BeginBatch, contexts: Sequence[Context], runner: asyncio.Runner
    ) -> Ended:
        payloads = [one.payload for one in work.messages]
        own = self._base.copy()
        many: Any = own.run(chosen_for, handler, payloads[0])
        if many.is_async:
            ends: list[Called] = []

            async def handle() -> None:
                ends.append(await called_async(many, payloads, contexts))

            with contextlib.suppress(asyncio.CancelledError):
                run_to_end(runner, handle(), own)
            told = ends[0]
        else:
            told = own.run(called, many, payloads, contexts)
        return Ended(None, "", called=told, results=tuple(context.result for context in contexts))

    def _context_of(self, work: Begin) -> Context:
        return _ChildContext(
            work,
            self._draining,
            self._publisher,
            self._send_during,
            keeps_result=self._settings.results_ttl_seconds > 0,
        )

    def _send(self, word: NamedTuple) -> None:
        with self._sending:
            self._connection.send(word)

    def _send_during(self, word: NamedTuple, context: Context) -> None:
        """Send it, unless the handler of that context has ended: it would be taken for the next one's."""
        with self._sending:
            if context in self._contexts:
                self._connection.send(word)

    def _end(self, ended: Ended) -> None:
        with self._sending:
            self._contexts = ()
            self._connection.send(ended)

    def _listen(self) -> None:
        try:
            while (word := self._connection.recv()) is not None:
                if isinstance(word, (Begin, BeginBatch)):
                    begins = word.messages if isinstance(word, BeginBatch) else (word,)
                    # Made here, not where the handler begins: the next word may come before that.
                    self._contexts = tuple(map(self._context_of, begins))
                    lost, cancelled = [one.lease_lost for one in begins], [one.cancelled for one in begins]
                    self._update(begins[0].draining, lost, cancelled)
                    self._work.put((word, self._contexts))
                elif isinstance(word, Update):
                    self._update(*word)
                elif contexts := self._contexts:
                    stacks = tuple([stack_of(context) or () for context in contexts])
                    self._send_during(Stacks(stacks), contexts[0])
            self._work.put(None)
        except (EOFError, OSError):  # the worker is gone: nobody would settle what is in hand
            os._exit(1)

    def _update(self, draining: bool, lease_lost: Sequence[bool], cancelled: Sequence[bool]) -> None:
        (self._draining.set if draining else self._draining.clear)()
        # None are in hand where their handler has ended just now.
        told = zip(self._contexts, lease_lost, cancelled, strict=False)
        for context, is_lost, is_cancelled in told:
            if is_lost:
                context.mark_lease_lost()
            if is_cancelled:
                context.mark_cancelled()


def slot(arguments: Sequence[str], _: Mapping[str, str]) -> int:
    """Serve the pipe whose descriptor is the first argument; the exit code."""
    try:
        return _serve(int(arguments[0]))
    except (EOFError, OSError):  # the worker left
        return 0


def _serve(descriptor: int) -> int:
    _end_with_the_worker()
    takeovers = Takeovers(lambda _number, _frame: None)  # the worker decides when a slot ends
    takeovers.undo()
    os.set_inheritable(descriptor, False)  # a handler's own processes must not keep the pipe open
    connection = Connection(descriptor)
    start: Start = connection.recv()
    settings = start.settings
    logs.configure(settings.log_level, settings.log_format)
    try:
        handler = load(settings.handler, settings.handler_path, settings.hooks)
        ProcessChild(connection, start).serve(handler, takeovers)
    except (HandlerError, HookError) as error:
        connection.send(Ready(type(error)(str(error))))
        return 1
    run_atexit(lambda: leave_at_once(0))
    leave_within(LEFTOVER_SECONDS, 0)  # handlers may have left threads of their own
    return 0


def _end_with_the_worker() -> None:
    """Let Linux kill this process when its worker dies, even if a handler never yields to the listener."""
    import ctypes  # noqa: PLC0415  (the worker imports this module too)

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
