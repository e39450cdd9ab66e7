"""Keeps the leases of everything a process has in hand, for threads and for asyncio."""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redis_message_queue import _transport
from redis_message_queue._batch import leases_at_once
from redis_message_queue._callbacks import report_callback_failure
from redis_message_queue._clock import monotonic, since_told
from redis_message_queue._local_state import ForgottenAtFork
from redis_message_queue._timer import Timer, timers
from redis_message_queue.client_checks import check_face
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import QueueKeys
from redis_message_queue.operations import Call, renew_many
from redis_message_queue.trouble import AWAY, is_final
from redis_message_queue.validation import LEASE, check, check_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import redis

    from redis_message_queue.consumer import Claim

__all__ = ["LeaseKeeper", "Leases", "Loss"]

# After a failure the next try comes sooner: most of the lease is left, but not for ever.
_RETRY_SECONDS = 1.0


class Loss(StrEnum):
    """Why a lease counts as lost."""

    TAKEN = "taken"  # Redis says that it is somebody else's, or nobody's
    EXPIRED = "expired"  # no renewal succeeded in time: it may be somebody else's by now


@dataclass(slots=True)
class _Lease:
    claim: Claim
    ends_at: float
    told: bool = False  # that it has ended


class LeaseBook:
    """The leases of one queue: which to renew when, and which are lost. Told the time, it does no I/O.

    All times are seconds on one clock that never goes back. A renewal takes along what is due within half an
    interval. So leases that came at different times soon fall due together, and each is renewed once in an
    interval, or at most twice.

    Raises ConfigurationError for an interval that leaves no room for a failure.
    """

    def __init__(self, visibility_timeout_seconds: float, interval_seconds: float | None = None) -> None:
        check_by(LEASE, "visibility_timeout_seconds", visibility_timeout_seconds)
        interval = visibility_timeout_seconds / 4 if interval_seconds is None else interval_seconds
        check_by(LEASE, "interval_seconds", interval)
        if not 0 < interval <= visibility_timeout_seconds / 2:
            raise ConfigurationError(
                "'interval_seconds' must be above 0 and at most half of 'visibility_timeout_seconds'"
                f" ({visibility_timeout_seconds:g}), so that one renewal may fail; got {interval!r}"
            )
        self.visibility_timeout_seconds = visibility_timeout_seconds
        self.interval_seconds = interval
        self.retry_seconds = min(_RETRY_SECONDS, interval / 4)
        self._leases: dict[object, _Lease] = {}
        self._rests_until = -math.inf  # after a failure

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, *claims: Claim, claimed_at: float) -> None:
        """Keep leases that began at `claimed_at`, or a little later."""
        end = claimed_at + self.visibility_timeout_seconds
        for claim in claims:
            self._leases[claim.lease] = _Lease(claim, end)

    def remove(self, *claims: Claim) -> None:
        """Keep them no longer. Harmless where they were not kept."""
        for claim in claims:
            self._leases.pop(claim.lease, None)

    def clear(self) -> None:
        """Keep nothing any more."""
        self._leases.clear()

    def ends_at(self, claim: Claim) -> float | None:
        """When the lease ends unless it is renewed; None when it is not kept (any more)."""
        lease = self._leases.get(claim.lease)
        return None if lease is None else lease.ends_at

    @property
    def renews_at(self) -> float:
        """When a renewal cannot wait any longer; infinity when nothing is kept."""
        first = min([lease.ends_at for lease in self._leases.values()], default=math.inf)
        return max(first - self.visibility_timeout_seconds + self.interval_seconds, self._rests_until)

    @property
    def expires_at(self) -> float:
        """When the next lease ends of those that `expired` has not told yet; infinity when none does."""
        return min([each.ends_at for each in self._leases.values() if not each.told], default=math.inf)

    def due(self, now: float) -> list[Claim]:
        """What a renewal should take along."""
        soon = now + self.visibility_timeout_seconds - self.interval_seconds / 2
        return [lease.claim for lease in self._leases.values() if lease.ends_at <= soon]

    def renewed(self, claims: Sequence[Claim], kept: Sequence[bool], asked_at: float) -> list[Claim]:
        """Note the answers of Redis to a call begun at `asked_at`; those that were lost.

        What was removed since is nobody's concern.
        """
        known = [(claim, ok) for claim, ok in zip(claims, kept, strict=True) if claim.lease in self._leases]
        for claim, ok in known:
            self.remove(claim)
            if ok:
                self.add(claim, claimed_at=asked_at)
        return [claim for claim, ok in known if not ok]

    def failed(self, now: float) -> None:
        """Nobody knows whether some were renewed: their ends stand, and what is due is soon tried again."""
        self._rests_until = now + self.retry_seconds

    def expired(self, now: float) -> list[Claim]:
        """Those whose leases have ended, each told once.

        They are renewed further on: while nobody else took them they can be saved.
        """
        ended = [lease for lease in self._leases.values() if lease.ends_at <= now and not lease.told]
        for lease in ended:
            lease.told = True
        return [lease.claim for lease in ended]


class Leases:
    """The kept leases of one queue; made by `LeaseKeeper.queue`. Every thread may use it."""

    def __init__(
        self,
        keeper: LeaseKeeper,
        keys: QueueKeys,
        book: LeaseBook,
        on_renewed: Callable[[int], object] | None,
        on_lost: Callable[[Claim, Loss], object] | None,
        on_failed: Callable[[Exception, float], object] | None,
    ) -> None:
        self._keeper = keeper
        self._keys = keys
        self._on_renewed = on_renewed
        self._on_lost = on_lost
        self._on_failed = on_failed
        self.book = book

    def add(self, *claims: Claim, claimed_at: float | None = None) -> None:
        """Keep the leases of `claims` until `remove`.

        `claimed_at` is `time.monotonic()` from before the claim was sent, by default now.
        Raises RuntimeError when the keeper is closed, or the process cannot start its thread; then they are
        not kept.
        """
        since = monotonic() if claimed_at is None else since_told(claimed_at)
        with self._keeper.lock:
            self._keeper.check_open()
            try:
                self.book.add(*claims, claimed_at=since)
                if claims:
                    timers.by(self._keeper, since + self.book.interval_seconds)
            except BaseException:
                self.remove(*claims)
                raise

    def remove(self, *claims: Claim) -> None:
        """Let the leases of `claims` go. Harmless when they are not kept.

        Best right before they are settled: at least half of their time is left for that. A renewal that meets
        a settled message finds its lease taken.
        """
        with self._keeper.lock:
            self.book.remove(*claims)

    def remaining_seconds(self, claim: Claim) -> float:
        """How long the lease certainly lasts without renewal; not above 0 when it counts as lost.

        -inf when it is not kept: unknown is never fine.
        """
        with self._keeper.lock:
            end = self.book.ends_at(claim)
        return -math.inf if end is None else end - monotonic()

    def __len__(self) -> int:
        """How many leases are kept."""
        return len(self.book)

    # -- for the keeper --

    def call(self, claims: Sequence[Claim]) -> Call[tuple[bool, ...]]:
        return renew_many(
            processing=self._keys.processing,
            leases=[(claim.stored, claim.token) for claim in claims],
            visibility_timeout_ms=math.ceil(self.book.visibility_timeout_seconds * 1000),
        )

    def renewed(self, claims: Sequence[Claim], kept: tuple[bool, ...], asked_at: float) -> None:
        with self._keeper.lock:
            lost = self.book.renewed(claims, kept, asked_at)
        if any(kept):
            _tell("on_renewed", self._on_renewed, sum(kept))
        for claim in lost:
            _tell("on_lost", self._on_lost, claim, Loss.TAKEN)

    def tell(self, error: Exception | None) -> None:
        """Tell why renewals failed, if they did, and whose time is over by now."""
        if error is not None:
            _tell("on_failed", self._on_failed, error, self.book.retry_seconds)
        with self._keeper.lock:
            expired = self.book.expired(monotonic())
        for claim in expired:
            _tell("on_lost", self._on_lost, claim, Loss.EXPIRED)


def _tell(name: str, callback: Callable[..., object] | None, *args: Any) -> None:
    if callback is not None:
        try:
            callback(*args)
        except BaseException as error:  # not even an exit: the thread is needed by others
            report_callback_failure(name, error)


class LeaseKeeper(Timer, ForgottenAtFork):
    """Renews leases over a connection of its own, from the thread that all renewals of the process share.

    All that is due, and what soon will be, goes in one round trip for all queues. The thread begins with the
    first lease and ends when none is kept. A blocked event loop does not delay it; only native code that
    holds on to the interpreter does. While a renewal has no answer another thread tells which leases end:
    `on_lost` comes in time, however long the client repeats. After a failure it tries again sooner. A forked
    child has the keeper and its queues, but no lease and no thread. A keeper that is dropped, with all that
    `queue` gave, keeps nothing any more.

    Args:
        connect: makes the client; called at the first renewal, and in the shared thread.
            `ConnectionSettings.connect` is one. If it raises, it is called again.
    """

    def __init__(self, connect: Callable[[], redis.Redis | redis.RedisCluster]) -> None:
        self._connect = connect
        self._queues: list[Leases] = []
        self._closed = False
        ForgottenAtFork.__init__(self)

    def forget(self) -> None:
        """In a forked child: the connection and the leases are the parent's."""
        self.lock = threading.RLock()
        self.due_at = math.inf
        self._client: Any = None
        self._calling_since: float | None = None
        for leases in self._queues:
            leases.book.clear()

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
        """Leases of one queue, kept by this keeper.

        Args:
            name: the queue's name; in a cluster with a hash tag, such as `{jobs}`.
            key_separator: between the name and the rest of each key.
            visibility_timeout_seconds: what a renewal extends a lease to: that of the consumer.
            interval_seconds: between two renewals; by default a quarter of the timeout, at most half of it.
            on_renewed: told how many leases a call renewed.
            on_lost: told of each lease that counts as lost, and why.
            on_failed: told why a call failed, and in how many seconds the next is tried.

        The callbacks run in the shared thread, so they must be quick; what they raise is logged.
        Raises ConfigurationError for times that cannot work, RuntimeError when the keeper is closed.
        """
        self.check_open()
        check(name=name, key_separator=key_separator)
        book = LeaseBook(visibility_timeout_seconds, interval_seconds)
        leases = Leases(self, QueueKeys(name, key_separator), book, on_renewed, on_lost, on_failed)
        with self.lock:
            self._queues.append(leases)
        return leases

    @property
    def overdue_seconds(self) -> float:
        """How late the thread is with what it should do, for a liveness probe; 0 when it rests.

        A call that waits for Redis counts from its beginning.
        """
        with self.lock:
            since = self._next_at() if self._calling_since is None else self._calling_since
        return max(0.0, monotonic() - since)

    def close(self, timeout_seconds: float = 5.0) -> bool:
        """Let all leases go; False if a renewal on its way took longer than that. Its thread soon ends."""
        with self.lock:
            self._closed = True
            for leases in self._queues:
                leases.book.clear()
        ended = timers.cancel(self, timeout_seconds)
        self._disconnect_if_closed()
        return ended

    def check_open(self) -> None:
        """Raises RuntimeError when it is closed."""
        if self._closed:
            raise RuntimeError("the lease keeper is closed")

    def fire(self) -> float:
        """Renew what is due, and tell whose time is over: another thread does so while a call takes long."""
        now = monotonic()
        with self.lock:
            due = self._due(now)
            if due:
                self._calling_since = now
                with contextlib.suppress(RuntimeError):  # no other thread can be started: it is told late
                    timers.by(self, self._next_at())
        errors = self._renew(due, now)
        with self.lock:
            if due:
                self._calling_since = None
            queues = list(self._queues)
        for leases in queues:
            leases.tell(errors.get(leases))
        self._disconnect_if_closed()
        with self.lock:
            return self._next_at()

    def _next_at(self) -> float:
        books = [leases.book for leases in self._queues]
        times = [book.expires_at for book in books]
        if self._calling_since is None:
            times += [book.renews_at for book in books]
        return min(times, default=math.inf)

    def _due(self, now: float) -> list[tuple[Leases, list[Claim]]]:
        """What to renew now, by requests: one call at a time, whatever falls due meanwhile."""
        if self._calling_since is not None or all(each.book.renews_at > now for each in self._queues):
            return []
        return [(leases, part) for leases in self._queues for part in leases_at_once(leases.book.due(now))]

    def _renew(self, due: list[tuple[Leases, list[Claim]]], now: float) -> dict[Leases, Exception]:
        """For each queue of which something could not be renewed, why."""
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
                    errors[leases] = reply
                    with self.lock:
                        leases.book.failed(monotonic())
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

    def _disconnect_if_closed(self) -> None:
        with self.lock:
            client = self._client if self._closed and self._calling_since is None else None
            if client is not None:
                self._client = None
        if client is not None:
            with contextlib.suppress(*AWAY):
                client.close()
