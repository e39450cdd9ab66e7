"""One worker process: starts the loops, then decides on the main thread what signals and commands mean."""

from __future__ import annotations

import logging
import queue
import random
import signal
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redis_message_queue._timer import THREAD_NAME
from redis_message_queue.leases import LeaseKeeper
from redis_message_queue.pipelined import PipelinedConsumer
from redisqueue_worker.circuit_breaker import Breaker
from redisqueue_worker.claim_timing import Burst
from redisqueue_worker.consumer_loop import ConsumerLoop
from redisqueue_worker.context import Contexts, Publisher, pool_problem
from redisqueue_worker.doors import Doors, PlatformError
from redisqueue_worker.executors import Executor, TaskExecutor, ThreadExecutor, slots_problem
from redisqueue_worker.handlers import load, own_policies
from redisqueue_worker.health import Pulse, RefusalPulse, stalled
from redisqueue_worker.hooks import hooks
from redisqueue_worker.in_flight import HandlerTimeouts, InFlightTable
from redisqueue_worker.lease_renewal import KeeperPulse, keep_leases
from redisqueue_worker.prefetch import Prefetch
from redisqueue_worker.restart import Recycler, RestartLimits
from redisqueue_worker.retry_policy import RetryPolicy
from redisqueue_worker.shutdown import (
    EXIT_CRASHED,
    EXIT_DRAINED,
    EXIT_FORCED,
    EXIT_IMPATIENT,
    Cause,
    Drain,
    Effect,
    Ending,
    Event,
    Phase,
    leave_at_once,
    step,
)
from redisqueue_worker.signals import STOP_SIGNALS, StoppedBeforeStart, Takeovers
from redisqueue_worker.wakeup import WakeUp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from redis_message_queue.consumer import WorkerIdentity
    from redisqueue_worker.effective_policy import EffectivePolicy
    from redisqueue_worker.handlers import Handler
    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.process_pool import ProcessPool
    from redisqueue_worker.restart import ProcessSnapshot, Reloader
    from redisqueue_worker.settings import Settings


log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
_LOOPS = (
    "redisqueue-consumer-loop",
    THREAD_NAME,
    "redisqueue-wakeup",
    "redisqueue-event-loop",
    "redisqueue-batches",
)


class Worker:
    """Runs the handler of `settings` until told to stop. One per process; `run` needs the main thread."""

    def __init__(
        self, settings: Settings, metrics: Metrics, start: ProcessSnapshot, reloader: Reloader | None = None
    ) -> None:
        self._settings = settings
        self._snapshot = start
        self._reloader = reloader
        self._metrics = metrics
        self._state = Drain(settings.drain_timeout_seconds)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._in_flight = InFlightTable()
        self._pulses = {name: Pulse() for name in ("main", "consumer loop", "wake-up")}
        self._keeper = LeaseKeeper(settings.connection.connect)
        self._pulses["leases"] = KeeperPulse(self._keeper)
        self._takeovers = Takeovers(self._on_signal, _on_thread_crash)
        self._started = self._replaced = False
        self._server_checked = False
        self._hurry: Callable[[], None] = lambda: None
        self._doors = Doors(
            settings,
            metrics,
            live=lambda: stalled(self._pulses) if self._started else [],
            ready=self._ready,
            send=self._events.put,
            look=lambda: (self._state, len(self._in_flight)),
            stacks=self._in_flight.stacks,
        )
        self._recycler = Recycler(RestartLimits())
        self._burst: Burst | None = None
        self._timeouts = HandlerTimeouts(self._in_flight, metrics, settings.max_in_flight_seconds)
        self._loop = ConsumerLoop(
            lambda: self._consumer(self._settings.identity),
            self._in_flight,
            keep_leases(self._keeper, settings, self._in_flight, metrics),
            prefetch=Prefetch(settings.concurrency, ahead=not settings.is_limited),
            policy=RetryPolicy(
                settings.max_attempts, settings.retry_initial_seconds, settings.retry_max_seconds
            ),
            breaker=Breaker(settings.circuit_breaker_failures),
            contexts=Contexts(
                settings.handler_timeout_seconds,
                Publisher(settings.connection.connect, settings.queue, settings.key_separator),
                metrics,
                keeps_results=settings.results_ttl_seconds > 0,
            ),
            metrics=metrics,
            pulse=self._pulses["consumer loop"],
            changed=lambda: self._events.put(Event.TICK),
            emptied=self._on_empty,
        )
        outbox = self._loop.outbox
        outbox.keeps_results = settings.results_ttl_seconds > 0
        self._pulses["results"] = RefusalPulse(lambda: outbox.refused_since)
        metrics.results_waiting_seconds = lambda: outbox.oldest_seconds(monotonic())
        metrics.results_refused = lambda: len(outbox)
        metrics.in_flight = lambda: len(self._in_flight)
        self._wakeup = WakeUp(self._consumer, self._loop.woken, self._pulses["wake-up"])

    def run(self) -> int:
        """Work until drained and told to stop; the process's exit code.

        Does not return when it is forced to stop (the process leaves with 4 at once, whatever its
        threads do) and when it starts afresh (the process is replaced).

        Raises HandlerError for a handler that cannot be used, HookError for a start-up hook that fails,
        PlatformError for a port or folder, StoppedBeforeStart for a signal until then.
        """
        # A predecessor that replaced itself by this process blocked the signals: none was lost between.
        self._takeovers.undo()
        with ExitStack() as exits:
            self._doors.open(exits)
            slots = self._make_slots()
            self._takeovers.undo_and_warn()
            hooks.start(slots.run, slots.context)
            self._takeovers.undo_and_warn()
            if self._reloader:
                self._reloader.watch(lambda: self._events.put(Event.RECYCLE))
            self._begin(slots)
            last = self._live()
            return self._end(last, slots)

    # ---- start ---------------------------------------------------------------------

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._started:
            raise StoppedBeforeStart
        if self._replaced:  # other threads let it through: it waits here for the process that comes next
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
            signal.pthread_kill(threading.get_ident(), number)
            return
        self._events.put(Event(signal.Signals(number).name))

    def _make_slots(self) -> Executor:
        settings = self._settings
        processes = None
        if settings.slots == "processes":  # which import the handler themselves
            processes = self._make_processes(settings.concurrency)
            if all(policy.slots == "processes" for policy in processes.policies.values()):
                return processes
        handler = load(settings.handler, settings.handler_path, settings.hooks)
        if policies := own_policies(handler, settings):
            if not processes and any(policy.slots == "processes" for policy in policies.values()):
                processes = self._make_processes(1)
            return self._mixed(handler, policies, processes)
        if problem := slots_problem(settings.slots, handler):
            raise PlatformError(f"REDISQUEUE_SLOTS (--slots): {problem}")
        if handler.is_async is False:
            return ThreadExecutor(handler, settings.concurrency, self._loop.finish)
        if handler.is_async:
            pulse = self._pulses["event-loop"] = Pulse()
            return TaskExecutor(handler, self._loop.finish, pulse)
        return self._mixed(handler)

    def _mixed(
        self,
        handler: Handler,
        policies: Mapping[str, EffectivePolicy] | None = None,
        processes: ProcessPool | None = None,
    ) -> Executor:
        from redisqueue_worker.mixed_executor import MixedExecutor  # noqa: PLC0415  (few need it)

        pulse, count = Pulse(), self._settings.concurrency
        self._pulses["event-loop"] = pulse
        return MixedExecutor(handler, count, self._loop.finish, pulse, policies, processes)

    def _make_processes(self, warm: int) -> ProcessPool:
        from redisqueue_worker.process_pool import ProcessPool  # noqa: PLC0415  (few have them)

        return ProcessPool(self._settings, self._loop.finish, self._doors.slot_metrics(), warm)

    def _begin(self, slots: Executor) -> None:
        settings = self._settings
        self._loop.attach(slots.start, self._wakeup, self._doors.succession)
        self._hurry = getattr(slots, "hurry", self._hurry)
        self._timeouts.can_cancel = slots.can_cancel
        self._metrics.slots = settings.concurrency
        grace = settings.grace_period_seconds
        log.info(
            "started",
            extra={
                "queue": settings.queue,
                "redis": settings.connection.redacted,
                "handler": settings.handler,
                "slots": slots.kind,
                "concurrency": settings.concurrency,
                "drain_timeout_seconds": settings.drain_timeout_seconds,
                "grace_period_seconds": grace,
            },
        )
        if grace is not None and settings.drain_timeout_seconds >= grace:
            log.warning(
                "the grace period ends before the drain timeout: handlers may be killed at work",
                extra={
                    "drain_timeout_seconds": settings.drain_timeout_seconds,
                    "grace_period_seconds": grace,
                },
            )
        if problem := pool_problem(settings):
            log.warning("the client is too small", extra={"reason": problem})
        for pulse in self._pulses.values():  # a slow import is not a stall
            pulse.beat()
        if hasattr(slots, "hurry") or slots.kind != "processes":
            # Processes alone are replaced one by one, and this one stays.
            self._recycler = Recycler(RestartLimits.of(settings, random.random()))  # noqa: S311
        if settings.burst:  # its patience is for messages, not for imports and hooks
            self._burst = Burst(settings.burst_patience_seconds, monotonic())
        self._started = True
        for thread in (self._wakeup, self._loop):
            thread.start()

    def _consumer(self, identity: WorkerIdentity | None = None) -> PipelinedConsumer:
        settings = self._settings
        return PipelinedConsumer(
            settings.connection.connect(),
            settings.queue,
            key_separator=settings.key_separator,
            visibility_timeout_seconds=settings.visibility_timeout_seconds,
            max_delivery_count=settings.max_delivery_count,
            keep_completed=settings.keep_completed,
            keep_failed=settings.keep_failed,
            results_ttl_seconds=settings.results_ttl_seconds,
            worker=identity,
            limits=settings.limits,
            key_limits=settings.key_limits,
        )

    def _ready(self) -> bool:
        return self._started and self._state.phase is Phase.RUNNING

    # ---- the main loop -------------------------------------------------------------

    def _live(self) -> Effect:
        """Until the state machine says how to leave."""
        while True:
            try:
                event = self._events.get(timeout=TICK_SECONDS)
            except queue.Empty:
                event = Event.TICK
            self._pulses["main"].beat()
            self._takeovers.undo_and_warn()
            self._timeouts.look()
            self._check_server()
            if event is Event.TICK and self._wants_recycling():
                event = Event.RECYCLE
            elif event is Event.TICK and self._is_impatient():
                event = Event.IMPATIENCE
            for effect in self._apply(event):
                if effect is Effect.STOP_CLAIMING:
                    self._loop.close_gate()
                    self._hurry()
                    self._metrics.drain_began()
                elif effect is Effect.START_CLAIMING:
                    self._loop.open_gate()
                    self._metrics.drain_ended()
                else:
                    return effect

    def _check_server(self) -> None:
        """Have it looked at whether messages are safe there, once the first claim is over."""
        if self._server_checked or not self._loop.has_claimed:
            return
        self._server_checked = True

        def check() -> None:
            from redisqueue_worker.server_check import tell_once  # noqa: PLC0415  (not before it claims)

            tell_once(self._settings.connection)

        threading.Thread(target=check, name="server-check", daemon=True).start()

    def _apply(self, event: Event) -> tuple[Effect, ...]:
        before = self._state
        after, effects = step(before, event, now=monotonic(), load=self._loop.load())
        self._state = after
        self._tell(event, before, after)
        return effects

    def _tell(self, event: Event, before: Drain, after: Drain) -> None:
        fields = {"reason": str(after.cause or before.cause or ""), "in_flight": len(self._in_flight)}
        if event in (Event.SIGTERM, Event.SIGINT):
            log.info("%s received", event, extra={**fields, "reason": str(event)})
        if after.cause and after.cause is not before.cause:
            log.info(
                "drain started by %s",
                after.cause,
                extra={**fields, "drain_timeout_seconds": after.timeout_seconds},
            )
        if after.phase is Phase.DRAINED and before.phase is not Phase.DRAINED:
            log.info("nothing in flight, staying until SIGTERM or resume", extra=fields)
        if after.phase is Phase.RUNNING and before.phase is not Phase.RUNNING:
            log.info("resumed", extra={**fields, "reason": "command"})

    def _wants_recycling(self) -> bool:
        if self._state.phase is not Phase.RUNNING:
            return False
        if self._timeouts.has_abandoned:
            reason = "a handler cannot be stopped"
        else:
            reason = self._recycler.reached(self._loop.deliveries.settled_total)
        if reason:
            log.info("time to start afresh", extra={"reason": reason})
        return bool(reason)

    def _on_empty(self, next_due_seconds: float | None, in_hand: int, waiting: Callable[[], int]) -> None:
        if self._burst and in_hand:
            self._hurry()  # no batch waits for more
        elif self._burst and not (
            self._burst.waits_for(next_due_seconds) or (self._settings.is_limited and waiting())
        ):
            self._events.put(Event.EMPTY)

    def _is_impatient(self) -> bool:
        if self._burst is None or self._state.phase is not Phase.RUNNING:
            return False
        oldest = self._in_flight.oldest_age_seconds()
        self._burst.look(monotonic(), ended=self._loop.deliveries.ended_total, oldest_age_seconds=oldest)
        return self._burst.is_over

    # ---- the end -------------------------------------------------------------------

    def _end(self, last: Effect, slots: Executor) -> int:
        """Leave as `last` says. Returns only when no handler runs and nothing replaces the process."""
        self._wakeup.end()
        ending = Ending(
            loop=self._loop,
            keeper=self._keeper,
            in_flight=self._in_flight,
            slots=slots,
            health=self._doors.health,
            snapshot=self._snapshot,
            release=not self._settings.leave_lease,
            reason=str(self._state.cause or ""),
            drained=EXIT_IMPATIENT if self._state.cause is Cause.IMPATIENCE else EXIT_DRAINED,
            told_to_stop=self._told_to_stop,
        )
        if last is Effect.FORCE_EXIT:
            ending.give_up()
            leave_at_once(EXIT_FORCED)
        return ending.leave(recycle=last is Effect.RECYCLE)

    def _told_to_stop(self) -> bool:
        """Hold the stop signals back from now on; whether one of them has come."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        self._replaced = True
        with suppress(queue.Empty):
            while True:
                event = self._events.get_nowait()
                if event in (Event.SIGTERM, Event.SIGINT):
                    self._tell(event, self._state, self._state)
                    return True
        return False


def _on_thread_crash(crash: threading.ExceptHookArgs) -> None:
    """A worker that lost one of its loops must not linger; threads that handlers start are theirs."""
    ours = crash.thread is not None and crash.thread.name in _LOOPS
    info = (crash.exc_type, crash.exc_value or crash.exc_type(), crash.exc_traceback)
    name = crash.thread.name if crash.thread else "unknown"
    log.critical("thread %s crashed", name, exc_info=info)
    if ours:
        leave_at_once(EXIT_CRASHED)
