"""The claim loop: poll, repeat what had no answer, and never forget a claim of unknown outcome."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from redis_message_queue import operations
from redis_message_queue._flow import Flow, Now, is_retryable
from redis_message_queue._fork import ForgottenAtFork
from redis_message_queue._wakeup import SharedWait
from redis_message_queue.envelope import new_id
from redis_message_queue.events import EventOperation, EventOutcome, event_sink
from redis_message_queue.exceptions import ClaimStoreFailedError, RetryBudgetExhaustedError
from redis_message_queue.keys import lease_keys
from redis_message_queue.messages import ClaimedMessage, MessageData
from redis_message_queue.trouble import described

if TYPE_CHECKING:
    from redis_message_queue._gateway import AnsweredRecords, Sender
    from redis_message_queue.events import Emit
    from redis_message_queue.options import GatewayOptions

logger = logging.getLogger(__name__)

# Without a lease nothing else bounds how long the server remembers a claim for a repeat.
_PLAIN_RECORD_SECONDS = 120

Claimed = ClaimedMessage | MessageData | None


class UnansweredClaims(ForgottenAtFork):
    """Claim ids by processing key, oldest first; an id is recovered by one caller at a time.

    The lock is never held across I/O, and is re-entrant because a signal handler may drain. A child of a fork
    begins with none: the parent recovers its own, and a message has one holder.
    """

    def forget(self) -> None:
        """Know of no claim."""
        self._lock = threading.RLock()
        self.sources: dict[str, dict[str, str]] = {}
        self._recovering: set[str] = set()

    def add(self, source: str, processing: str, claim_id: str) -> None:
        """Remember a claim of unknown outcome, and the list it would have taken from."""
        with self._lock:
            self.sources.setdefault(processing, {}).setdefault(claim_id, source)

    def take(self, processing: str, skip: frozenset[str] = frozenset()) -> tuple[str, str] | None:
        """Reserve the oldest id nobody is recovering, with its source; end with `settle` or `put_back`."""
        with self._lock:
            for claim_id, source in self.sources.get(processing, {}).items():
                if claim_id not in self._recovering and claim_id not in skip:
                    self._recovering.add(claim_id)
                    return claim_id, source
        return None

    def put_back(self, claim_id: str) -> None:
        """End a reservation: the outcome is still unknown."""
        with self._lock:
            self._recovering.discard(claim_id)

    def settle(self, processing: str, claim_id: str) -> None:
        """End a reservation: the outcome is known."""
        with self._lock:
            self._recovering.discard(claim_id)
            claims = self.sources.get(processing, {})
            claims.pop(claim_id, None)
            if not claims:
                self.sources.pop(processing, None)

    def waiting(self, processing: str) -> tuple[str, ...]:
        """The ids left for this processing key."""
        with self._lock:
            return tuple(self.sources.get(processing, ()))


class ClaimLoop:
    """`wait_for_message_and_move` of a gateway and the drain of its unanswered claims, as flows."""

    def __init__(self, chosen: GatewayOptions, sender: Sender, answered: AnsweredRecords) -> None:
        self._patience_seconds = chosen.wait_interval_seconds
        lease_seconds = chosen.message_visibility_timeout_seconds
        self._lease_ms = None if lease_seconds is None else lease_seconds * 1000
        self._limit = chosen.max_delivery_count
        self._dead_letters = chosen.dead_letter_queue or None
        self._sender = sender
        self._answered = answered
        self._wakeup = SharedWait(sender)
        self.unanswered = UnansweredClaims()

    def wait(self, source: str, processing: str) -> Flow[Claimed]:
        """Claim the next message, waiting for it as long as the gateway says."""
        if self._sender.stopped():
            return None
        if self._sender.unprobed:
            yield from self._sender.probe()
        if self.unanswered.sources:
            recovered = yield from self._recover_pending(processing)
            if recovered is not None or self._sender.stopped():
                return recovered
        if self._patience_seconds == 0:
            return (yield from self._claim_once(source, processing))
        return (yield from self._poll(source, processing))

    def _poll(self, source: str, processing: str) -> Flow[Claimed]:
        began, failure = (yield Now()), None
        claim_id, unknown = new_id(), False
        woken, lost = False, 0
        try:
            while not self._sender.stopped():
                unknown = True  # until its reply is understood, whoever leaves does not know
                try:
                    claimed = yield from self._claim(source, processing, claim_id)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    failure = error
                    yield from _report_transient(claim_id, error)
                else:
                    unknown, failure = False, None
                    if claimed is not None:
                        return claimed
                    claim_id = new_id()
                remaining = self._patience_seconds - (yield Now()).since(began)
                if remaining <= 0:
                    break
                lost = lost + 1 if woken else 0
                woken = yield from self._wakeup.until_pending(source, remaining, lost)
            if failure is None or self._sender.stopped():
                return None
            found = yield from self._recover(processing, claim_id)
            if found is not None:
                yield from _report_recovered(claim_id)
            unknown = False
        finally:
            if unknown:
                self.unanswered.add(source, processing, claim_id)
        if found is not None:
            return found
        yield from _report_exhausted(claim_id, failure)
        raise RetryBudgetExhaustedError(f"claim gave up: {described(failure)}") from failure

    def _claim_once(self, source: str, processing: str) -> Flow[Claimed]:
        """One attempt, and exactly one repeat of the same claim if its reply was lost."""
        claim_id, unknown = new_id(), True
        try:
            try:
                claimed = yield from self._claim(source, processing, claim_id)
            except Exception as error:
                if not is_retryable(error):
                    raise
                yield from _report_transient(claim_id, error)
                if self._sender.stopped():
                    return None
                try:
                    claimed = yield from self._claim(source, processing, claim_id)
                except Exception as last:
                    yield from _report_exhausted(claim_id, last)
                    raise RetryBudgetExhaustedError(
                        f"claim gave up after 2 attempts: {described(last)}"
                    ) from last
            unknown = False
            return claimed
        finally:
            if unknown:
                self.unanswered.add(source, processing, claim_id)

    def _claim(self, source: str, processing: str, claim_id: str) -> Flow[Claimed]:
        """Send one claim and report what it did on the way."""
        sink = event_sink.get()
        if self._lease_ms is None:
            plain = operations.claim_plain(
                pending=source,
                processing=processing,
                claim_id=claim_id,
                record_ttl_ms=max(self._patience_seconds, _PLAIN_RECORD_SECONDS) * 1000,
                delayed=sink.delayed,
            )
            return (yield from self._sender.call(plain))
        call = operations.claim_leased(
            pending=source,
            processing=processing,
            claim_id=claim_id,
            visibility_timeout_ms=self._lease_ms,
            max_delivery_count=self._limit,
            dead_letter_queue=self._dead_letters,
            delayed=sink.delayed,
            answered=self._answered.pop(processing, ()),
        )
        reply = yield from self._sender.call(call)
        if reply.reclaimed or reply.dead_lettered:
            yield from self._report_passed(reply, sink.emit)
        if reply.problem is not None:
            raise ClaimStoreFailedError(
                f"the message is pending again, its claim could not be stored: {reply.problem}"
            )
        if reply.stored is None or reply.token is None:
            return None
        self._answered.add(processing, operations.claim_record(processing) + claim_id)
        return ClaimedMessage(reply.stored, reply.token).counted(reply.delivery_count)

    def _report_passed(self, reply: operations.ClaimResult, emit: Emit) -> Flow[None]:
        for passed in reply.reclaimed:
            facts = {**passed._asdict(), "max_delivery_count": self._limit}
            yield from emit(EventOperation.CLAIM_RECLAIM, EventOutcome.SUCCESS, **facts)
        for passed in reply.dead_lettered:
            facts = {**passed._asdict(), "max_delivery_count": self._limit}
            facts["destination_queue"] = self._dead_letters
            yield from emit(EventOperation.DLQ, EventOutcome.SUCCESS, **facts)

    # -- recovery --

    def _recover_pending(self, processing: str) -> Flow[Claimed]:
        """Give out what an earlier claim of unknown outcome was granted."""
        while True:
            taken = self.unanswered.take(processing)
            if taken is None:
                return None
            claim_id, _ = taken
            try:
                found = yield from self._recover(processing, claim_id)
                if found is not None:
                    yield from _report_recovered(claim_id)
            except BaseException:
                self.unanswered.put_back(claim_id)
                raise
            self.unanswered.settle(processing, claim_id)
            if found is not None:
                return found

    def _recover(self, processing: str, claim_id: str) -> Flow[Claimed]:
        """Read what a claim was granted; None if nothing, or if somebody else holds the lease by now."""
        keys = lease_keys(processing)
        record = keys.claim_result(claim_id)
        try:
            value = yield from self._sender.command("get", record)
            if value is None:
                value = yield from self._sender.command("hget", keys.claim_result_ids, claim_id)
            readable = True
        except UnicodeDecodeError:
            value, readable = b"", False
        if value is None:
            return None
        if self._lease_ms is None and readable:  # the message itself, which may be empty
            yield from self._forget("delete", record)
            return value  # type: ignore[no-any-return]
        pair = operations.parse_claim_record(value)
        if pair is not None and self._lease_ms is not None:
            stored: MessageData = pair[0].encode() if isinstance(value, bytes) else pair[0]
            renewal = operations.renew(
                processing=processing,
                stored=stored,
                lease_token=pair[1],
                visibility_timeout_ms=self._lease_ms,
            )
            if (yield from self._sender.call(renewal)):
                yield from self._forget("delete", record)
                yield from self._forget("hdel", keys.claim_result_refs, pair[1])
                return ClaimedMessage(stored, pair[1])
        yield from self._forget("delete", record)
        yield from self._forget("hdel", keys.claim_result_ids, claim_id)
        return None

    def _forget(self, command: str, *args: str) -> Flow[None]:
        """Remove a record nobody will read again; its expiry does it otherwise."""
        try:
            yield from self._sender.command(command, *args)
        except Exception as error:
            logger.warning("Could not remove the claim record %s: %s", args[0], error)

    # -- drain --

    def drain(self, processing: str, deadline: float | None) -> Flow[bool]:
        """Settle claims of unknown outcome: without leases they return to pending, else the lease expires.

        True if none is left. An id whose recovery fails for a transient reason stays for a later drain.
        """
        skipped: set[str] = set()
        while True:
            if deadline is not None and (yield Now()).told >= deadline:
                break
            taken = self.unanswered.take(processing, frozenset(skipped))
            if taken is None:
                break
            claim_id, source = taken
            try:
                yield from self._return_claim(source, processing, claim_id)
            except BaseException as error:
                self.unanswered.put_back(claim_id)
                if not is_retryable(error):
                    raise
                logger.warning("Transient error while draining claim %s: %s", claim_id, error)
                skipped.add(claim_id)
            else:
                self.unanswered.settle(processing, claim_id)
        return not self.unanswered.waiting(processing)

    def _return_claim(self, source: str, processing: str, claim_id: str) -> Flow[None]:
        if self._lease_ms is not None:
            return
        keys = lease_keys(processing)
        stored: Any = yield from self._sender.command("get", keys.claim_result(claim_id))
        if stored is None:
            stored = yield from self._sender.command("hget", keys.claim_result_ids, claim_id)
        if stored is not None:
            call = operations.move(
                processing=processing,
                destination=source,
                stored=stored,
                payload=stored,
                lease_token=None,
                replay_key=operations.settle_record(processing) + new_id(),
                replay_ttl_ms=_PLAIN_RECORD_SECONDS * 1000,
                next_out=True,
            )
            yield from self._sender.call(call)


def _report_transient(claim_id: str, error: Exception) -> Flow[None]:
    logger.warning("Transient error while claiming, the same claim is repeated: %s", described(error))
    yield from event_sink.get().emit(
        EventOperation.RETRY_ATTEMPT, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


def _report_exhausted(claim_id: str, error: Exception) -> Flow[None]:
    yield from event_sink.get().emit(
        EventOperation.RETRY_EXHAUSTED, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


def _report_recovered(claim_id: str) -> Flow[None]:
    yield from event_sink.get().emit(EventOperation.CLAIM_RECLAIM, EventOutcome.SUCCESS, claim_id=claim_id)
