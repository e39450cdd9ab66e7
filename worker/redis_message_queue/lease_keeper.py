"""One thread that keeps the leases of everything a process has in hand, for threads and for asyncio."""

from __future__ import annotations

import contextlib
import math
import threading
from typing import TYPE_CHECKING, Any

from redis_message_queue import _transport
from redis_message_queue._batch import leases_at_once
from redis_message_queue._callbacks import report_callback_failure
from redis_message_queue._clock import monotonic, since_told
from redis_message_queue._flow import is_final
from redis_message_queue._lease_book import LeaseBook, Loss
from redis_message_queue._watch import Watch
from redis_message_queue.client_checks import check_face
from redis_message_queue.keys import QueueKeys
from redis_message_queue.operations import Call, renew_many
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

    from redis_message_queue.consumer import Claim

__all__ = ["KEEPER_NAME", "LeaseKeeper", "Leases", "Loss"]

KEEPER_NAME = "redis-message-queue-lease-keeper"


class Leases:
    """The kept leases of one queue; made by `LeaseKeeper.queue`. Every thread may use it."""

    def __init__(
        self,
        watch: Watch,
        keys: QueueKeys,
        book: LeaseBook,
        on_renewed: Callable[[int], object] | None,
        on_lost: Callable[[Claim, Loss], object] | None,
        on_failed: Callable[[Exception, float], object] | None,
    ) -> None:
        self._watch = watch
        self._book = book
        self.keys = keys
        self._on_renewed = on_renewed
        self._on_lost = on_lost
        self._on_failed = on_failed
        self._closed = False

    def add(self, *claims: Claim, claimed_at: float | None = None) -> None:
        """Keep the leases of `claims` until `remove`.

        `claimed_at` is `time.monotonic()` from before the claim was sent, by default now.
        Raises RuntimeError when the keeper is closed, or the process cannot start its thread; then they are
        not kept.
        """
        since = monotonic() if claimed_at is None else since_told(claimed_at)
        with self._watch.lock:
            if self._closed:
                raise RuntimeError("the lease keeper is closed")
            try:
                if claims:
                    self._watch.by(min([self._book.add(claim, since) for claim in claims]))
            except BaseException:
                self.remove(*claims)
                raise

    def remove(self, *claims: Claim) -> None:
        """Let the leases of `claims` go. Harmless when they are not kept.

        Best right before they are settled: at least half of their time is left for that. A renewal that meets
        a settled message finds its lease taken.
        """
        with self._watch.lock:
            for claim in claims:
                self._book.remove(claim)

    def remaining_seconds(self, claim: Claim) -> float:
        """How long the lease certainly lasts without renewal; not above 0 when it counts as lost.

        -inf when it is not kept: unknown is never fine.
        """
        with self._watch.lock:
            end = self._book.ends_at(claim)
        return -math.inf if end is None else end - monotonic()

    def __len__(self) -> int:
        """How many leases are kept."""
        return len(self._book)

    # -- for the keeper --

    @property
    def next_at(self) -> float | None:
        return self._book.next_at

    def clear(self) -> None:
        self._book.clear()

    def close(self) -> None:
        self._closed = True
        self._book.clear()

    def is_due(self, now: float) -> bool:
        return self._book.is_due(now)

    def due(self, now: float) -> list[Claim]:
        return self._book.due(now)

    def call(self, claims: Sequence[Claim]) -> Call[tuple[bool, ...]]:
        return renew_many(
            processing=self.keys.processing,
            leases=[(claim.stored, claim.token) for claim in claims],
            visibility_timeout_ms=math.ceil(self._book.visibility_timeout_seconds * 1000),
        )

    def renewed(self, claims: Sequence[Claim], kept: tuple[bool, ...], asked_at: float) -> None:
        with self._watch.lock:
            lost = self._book.renewed(claims, kept, asked_at)
        if any(kept):
            self._tell("on_renewed", self._on_renewed, sum(kept))
        for claim in lost:
            self._tell("on_lost", self._on_lost, claim, Loss.TAKEN)

    def postpone(self, now: float) -> None:
        """Renew what is due a little later, and see to it that the ends of these leases are told."""
        self._book.failed(self._book.due(now), now)

    def failed(self, claims: Sequence[Claim]) -> None:
        with self._watch.lock:
            self._book.failed(claims, monotonic())

    def tell(self, error: Exception | None) -> None:
        """Tell why renewals failed, if they did, and whose time is over by now."""
        if error is not None:
            self._tell("on_failed", self._on_failed, error, self._book.retry_seconds)
        with self._watch.lock:
            expired = self._book.expired(monotonic())
        for claim in expired:
            self._tell("on_lost", self._on_lost, claim, Loss.EXPIRED)

    def _tell(self, name: str, callback: Callable[..., object] | None, *args: Any) -> None:
        if callback is not None:
            try:
                callback(*args)
            except BaseException as error:  # not even an exit: the thread is needed by others
                report_callback_failure(name, error)


class LeaseKeeper:
    """Renews leases from a thread and over a connection of its own.

    All that is due, and what soon will be, goes in one round trip for all queues. The thread begins with the
    first lease and ends when none is kept. A blocked event loop does not delay it; only native code that
    holds on to the interpreter does. While a renewal has no answer another thread tells which leases end:
    `on_lost` comes in time, however long the client repeats. After a failure it tries again sooner. A forked
    child has the keeper and its queues, but no lease and no thread.

    Args:
        connect: makes the client; called at the first renewal, and in the keeper's thread.
            `ConnectionSettings.connect` is one. If it raises, it is called again.
    """

    def __init__(self, connect: Callable[[], redis.Redis | redis.RedisCluster]) -> None:
        self._connect = connect
        self._client: Any = None
        self._queues: list[Leases] = []
        self._caller: threading.Thread | None = None  # the last thread that made a call
        self._calling_since: float | None = None
        self._closed = False
        self._watch = Watch(KEEPER_NAME, self._look, self._forget)

    def queue(
        self,
        name: str,
        *,
        key_separator: str = "::",
        visibility_timeout_seconds: float,
        interval_seconds: float | None = None,
        on_renewed: Callable[[int], object] | None = None,
        on_lost: Callable[[Claim, Loss], object] | None = None,
        on_failed: Callable[[Exception, float], object] | None = None,
    ) -> Leases:
        """Leases of one queue, kept by this keeper's thread.

        Args:
            name: the queue's name; in a cluster with a hash tag, such as `{jobs}`.
            key_separator: between the name and the rest of each key.
            visibility_timeout_seconds: what a renewal extends a lease to: that of the consumer.
            interval_seconds: between two renewals; by default a quarter of the timeout, at most half of it.
            on_renewed: told how many leases a call renewed.
            on_lost: told of each lease that counts as lost, and why.
            on_failed: told why a call failed, and in how many seconds the next is tried.

        The callbacks run in the keeper's thread, so they must be quick; what they raise is logged.
        Raises ConfigurationError for times that cannot work, RuntimeError when the keeper is closed.
        """
        if self._closed:
            raise RuntimeError("the lease keeper is closed")
        book = LeaseBook(visibility_timeout_seconds, interval_seconds)
        leases = Leases(self._watch, QueueKeys(name, key_separator), book, on_renewed, on_lost, on_failed)
        with self._watch.lock:
            self._queues.append(leases)
        return leases

    @property
    def overdue_seconds(self) -> float:
        """How late the thread is with what it should do, for a liveness probe; 0 when it rests.

        A call that waits for Redis counts from its beginning.
        """
        with self._watch.lock:
            since = self._next_at if self._calling_since is None else self._calling_since
        return 0.0 if since is None else max(0.0, monotonic() - since)

    def close(self, timeout_seconds: float = 5.0) -> bool:
        """Let all leases go and end the thread; False if a renewal on its way took longer than that."""
        with self._watch.lock:
            self._closed = True
            for leases in self._queues:
                leases.close()
            caller = self._caller
            if not self._watch.wake() and self._calling_since is None:
                self._disconnect()
        until = monotonic() + timeout_seconds
        ended = self._watch.join(timeout_seconds)
        if caller is not None and caller is not threading.current_thread():
            caller.join(max(0.0, until - monotonic()))
            ended = ended and not caller.is_alive()
        return ended

    def _forget(self) -> None:
        self._client = None
        self._caller = None
        self._calling_since = None
        for leases in self._queues:
            leases.clear()

    @property
    def _next_at(self) -> float | None:
        times = [leases.next_at for leases in self._queues]
        return min((when for when in times if when is not None), default=None)

    def _look(self) -> float | None:
        """Renew what is due, and tell whose time is over: another thread does so while a call takes long."""
        now = monotonic()
        with self._watch.lock:
            due = self._due(now)
            if due:
                self._caller, self._calling_since = threading.current_thread(), now
                self._watch.hand_over(self._next_at)
        errors = self._call(due, now) if due else {}
        with self._watch.lock:
            if due:
                self._calling_since = None
            queues = list(self._queues)
        for leases in queues:
            leases.tell(errors.get(leases))
        with self._watch.lock:
            if self._closed and self._calling_since is None:
                self._disconnect()
            if due and self._next_at is not None:
                with contextlib.suppress(RuntimeError):  # no thread can be started: then this one goes on
                    self._watch.by(self._next_at)
            return self._next_at

    def _due(self, now: float) -> list[tuple[Leases, list[Claim]]]:
        """What to renew now: one call at a time, whatever falls due meanwhile."""
        if self._calling_since is not None:
            for leases in self._queues:
                leases.postpone(now)
            return []
        if not any(leases.is_due(now) for leases in self._queues):
            return []
        return [(leases, part) for leases in self._queues for part in leases_at_once(leases.due(now))]

    def _call(self, due: list[tuple[Leases, list[Claim]]], now: float) -> dict[Leases, Exception]:
        """Renew; for each queue of which something could not be renewed, why."""
        errors = {}
        while due:
            replies = self._ask([leases.call(part) for leases, part in due])
            halves = []
            for (leases, part), reply in zip(due, replies, strict=True):
                if not isinstance(reply, Exception):
                    leases.renewed(part, reply, now)
                elif len(part) > 1 and is_final(reply):  # of one of them: the others need not suffer for it
                    middle = len(part) // 2
                    halves += [(leases, part[:middle]), (leases, part[middle:])]
                else:
                    leases.failed(part)
                    errors[leases] = reply
            due = halves
        return errors

    def _ask(self, calls: list[Call[tuple[bool, ...]]]) -> Sequence[tuple[bool, ...] | Exception]:
        """One answer for each call; the same trouble for all when Redis cannot be reached.

        Whatever the trouble is, giving up would let every lease expire.
        """
        try:
            if self._client is None:
                client = self._connect()
                check_face(client, asyncio=False, name="connect()")
                self._client = client
            return _transport.execute_many(self._client, calls)
        except Exception as error:
            return [error] * len(calls)

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*AWAY):
                client.close()
