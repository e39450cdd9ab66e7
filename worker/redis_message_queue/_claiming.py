"""The claim loop: poll, repeat what had no answer, and never forget a claim of unknown outcome."""

from __future__ import annotations

import logging
import random
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import redis.exceptions

from redis_message_queue import _core
from redis_message_queue._effects import Flow, Now, Sleep, pause
from redis_message_queue._gateway import GatewayFlows
from redis_message_queue._observer import current
from redis_message_queue._retry import is_retryable
from redis_message_queue.envelope import new_id
from redis_message_queue.events import EventOperation, EventOutcome
from redis_message_queue.exceptions import ClaimStoreFailedError, RetryBudgetExhaustedError
from redis_message_queue.keys import lease_keys
from redis_message_queue.messages import ClaimedMessage, MessageData
from redis_message_queue.trouble import AWAY, described

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
# How long one command waits for a message: an idle process sends two in this time, and a drain waits for it.
_BLOCK_SECONDS = 1.0
# How often a consumer looks whether another one still waits for both of them; the server is not asked.
_STEP_SECONDS = 0.05
_SHORTEST_SECONDS = 0.01
# Without a lease nothing else bounds how long the server remembers a claim for a repeat.
_PLAIN_RECORD_SECONDS = 120

Claimed = ClaimedMessage | MessageData | None


class ClaimFlows(GatewayFlows):
    """`wait_for_message_and_move` and the drain of claims of unknown outcome, as flows."""

    def _wait(self, source: str, processing: str) -> Flow[Claimed]:
        if self._stopped():
            return None
        if self._unprobed:
            yield from self._probe()
        recovered = yield from self._recover_pending(processing)
        if recovered is not None:
            return recovered
        if self._stopped():
            return None
        if self._options.wait_interval_seconds == 0:
            return (yield from self._claim_once(source, processing))
        return (yield from self._poll(source, processing))

    def _poll(self, source: str, processing: str) -> Flow[Claimed]:
        began, patience = (yield Now()), self._options.wait_interval_seconds
        claim_id, failure = new_id(), None
        woken, lost = False, 0
        # From the moment a claim is sent until its reply is understood, leaving means not knowing.
        with _Unknown(lambda: self._claims.add(source, processing, claim_id)) as unknown:
            while not self._stopped():
                unknown.is_set = True
                try:
                    claimed = yield from self._claim(source, processing, claim_id)
                except Exception as error:
                    if not is_retryable(error):
                        raise
                    failure = error
                    yield from _report_transient(claim_id, error)
                else:
                    unknown.is_set, failure = False, None
                    if claimed is not None:
                        self._answered(processing, claim_id)
                        return claimed
                    claim_id = new_id()
                remaining = patience - (yield Now()).since(began)
                if remaining <= 0:
                    break
                lost = lost + 1 if woken else 0
                woken = yield from self._until_pending(source, remaining, lost)
            if failure is None or self._stopped():
                return None
            found = yield from self._recover(processing, claim_id)
            if found is not None:
                yield from _report_recovered(claim_id)
            unknown.is_set = False
        if found is not None:
            return found
        yield from _report_exhausted(claim_id, failure)
        raise RetryBudgetExhaustedError(f"claim gave up: {described(failure)}") from failure

    def _until_pending(self, source: str, seconds: float, lost: int) -> Flow[bool]:
        """Wait until something is pending or a claim is due anyway, at most `seconds`; True if pending.

        One message wakes one waiter of each process. Of these, who was late `lost` times in a row polls for
        a while rather than blocks, up to a second: so a crowd thins out.
        """
        if not self._blocks:
            yield Sleep(min(POLL_SECONDS, seconds))
            return False
        if lost:
            yield from pause(
                _jittered(min(seconds, _BLOCK_SECONDS, 0.005 * 2 ** min(lost, 8))), self._stopped
            )
        me = object()
        while not self._waiters.enter(source, me):
            if seconds <= 0 or self._stopped():
                return False
            step = _jittered(_STEP_SECONDS)
            yield Sleep(min(seconds, step))
            seconds -= step
        # Who may be interrupted has to notice it sooner.
        longest = _BLOCK_SECONDS if self._options.interrupt is None else POLL_SECONDS
        try:
            return (yield from self._block(source, max(_SHORTEST_SECONDS, min(longest, seconds))))
        finally:
            self._waiters.leave(source)

    def _block(self, source: str, seconds: float) -> Flow[bool]:
        try:
            # The tail goes back to the tail in one step: nothing moves, and nobody else sees anything.
            return (yield from self._command("blmove", source, source, seconds, "RIGHT", "RIGHT")) is not None
        except (*AWAY, UnicodeDecodeError) as error:
            if isinstance(error, redis.exceptions.NoPermissionError):
                logger.info("No right to wait for %s, polling instead: %s", source, error)
                self._blocks = False
            # Whatever else it is, the claim that follows meets it as well, and reports it.
            yield Sleep(min(POLL_SECONDS, seconds))
        return False

    def _claim_once(self, source: str, processing: str) -> Flow[Claimed]:
        """One attempt, and exactly one repeat of the same claim if its reply was lost."""
        claim_id = new_id()
        with _Unknown(lambda: self._claims.add(source, processing, claim_id)) as unknown:
            unknown.is_set = True
            try:
                claimed = yield from self._claim(source, processing, claim_id)
            except Exception as error:
                if not is_retryable(error):
                    raise
                yield from _report_transient(claim_id, error)
                if self._stopped():
                    return None
                try:
                    claimed = yield from self._claim(source, processing, claim_id)
                except Exception as last:
                    yield from _report_exhausted(claim_id, last)
                    raise RetryBudgetExhaustedError(
                        f"claim gave up after 2 attempts: {described(last)}"
                    ) from last
            unknown.is_set = False
            if claimed is not None:
                self._answered(processing, claim_id)
            return claimed

    def _answered(self, processing: str, claim_id: str) -> None:
        # Without a lease the settlement itself removes the record.
        if self.message_visibility_timeout_seconds is not None:
            self._spent.add(processing, lease_keys(processing).claim_result(claim_id))

    def _claim(self, source: str, processing: str, claim_id: str) -> Flow[Claimed]:
        """Send one claim and report what it did on the way."""
        timeout = self.message_visibility_timeout_seconds
        if timeout is None:
            record_ms = max(self._options.wait_interval_seconds, _PLAIN_RECORD_SECONDS) * 1000
            plain = _core.claim_plain(
                pending=source,
                processing=processing,
                claim_id=claim_id,
                record_ttl_ms=record_ms,
                delayed=current().delayed,
            )
            return (yield from self._call(plain))
        reply = yield from self._call(
            _core.claim_leased(
                pending=source,
                processing=processing,
                claim_id=claim_id,
                visibility_timeout_ms=timeout * 1000,
                max_delivery_count=self.max_delivery_count,
                dead_letter_queue=self.dead_letter_queue,
                delayed=current().delayed,
                spent=self._spent.take(processing),
            )
        )
        emit, limit = current().emit, self.max_delivery_count
        for passed in reply.reclaimed:
            yield from emit(
                EventOperation.CLAIM_RECLAIM,
                EventOutcome.SUCCESS,
                **passed._asdict(),
                max_delivery_count=limit,
            )
        for passed in reply.dead_lettered:
            yield from emit(
                EventOperation.DLQ,
                EventOutcome.SUCCESS,
                **passed._asdict(),
                max_delivery_count=limit,
                destination_queue=self.dead_letter_queue,
            )
        if reply.problem is not None:
            raise ClaimStoreFailedError(
                f"the message is pending again, its claim could not be stored: {reply.problem}"
            )
        if reply.stored is None or reply.token is None:
            return None
        return ClaimedMessage(reply.stored, reply.token).counted(reply.delivery_count)

    # -- recovery --

    def _recover_pending(self, processing: str) -> Flow[Claimed]:
        """Give out what an earlier claim of unknown outcome was granted."""
        while True:
            taken = self._claims.take(processing)
            if taken is None:
                return None
            claim_id, _ = taken
            try:
                found = yield from self._recover(processing, claim_id)
                if found is not None:
                    yield from _report_recovered(claim_id)
            except BaseException:
                self._claims.put_back(claim_id)
                raise
            self._claims.settle(processing, claim_id)
            if found is not None:
                return found

    def _recover(self, processing: str, claim_id: str) -> Flow[Claimed]:
        """Read what a claim was granted; None if nothing, or if somebody else holds the lease by now."""
        keys = lease_keys(processing)
        record = keys.claim_result(claim_id)
        try:
            value = yield from self._command("get", record)
            if value is None:
                value = yield from self._command("hget", keys.claim_result_ids, claim_id)
            readable = True
        except UnicodeDecodeError:
            value, readable = b"", False
        if value is None:
            return None
        timeout = self.message_visibility_timeout_seconds
        if timeout is None and readable:  # the message itself, which may be empty
            yield from self._forget("delete", record)
            return value  # type: ignore[no-any-return]
        pair = _core.parse_claim_record(value)
        if pair is not None and timeout is not None:
            stored: MessageData = pair[0].encode() if isinstance(value, bytes) else pair[0]
            renewal = _core.renew(
                processing=processing,
                stored=stored,
                lease_token=pair[1],
                visibility_timeout_ms=timeout * 1000,
            )
            if (yield from self._call(renewal)):
                yield from self._forget("delete", record)
                yield from self._forget("hdel", keys.claim_result_refs, pair[1])
                return ClaimedMessage(stored, pair[1])
        yield from self._forget("delete", record)
        yield from self._forget("hdel", keys.claim_result_ids, claim_id)
        return None

    def _forget(self, command: str, *args: str) -> Flow[None]:
        """Remove a record nobody will read again; its expiry does it otherwise."""
        try:
            yield from self._command(command, *args)
        except Exception as error:
            logger.warning("Could not remove the claim record %s: %s", args[0], error)

    # -- drain --

    def _drain_claims(self, processing: str, deadline: float | None) -> Flow[bool]:
        """Settle claims of unknown outcome: without leases they return to pending, else the lease expires.

        True if none is left. An id whose recovery fails for a transient reason stays for a later drain.
        """
        skipped: set[str] = set()
        while True:
            if deadline is not None and (yield Now()).told >= deadline:
                break
            taken = self._claims.take(processing, frozenset(skipped))
            if taken is None:
                break
            claim_id, source = taken
            try:
                yield from self._return_claim(source, processing, claim_id)
            except BaseException as error:
                self._claims.put_back(claim_id)
                if not is_retryable(error):
                    raise
                logger.warning("Transient error while draining claim %s: %s", claim_id, error)
                skipped.add(claim_id)
            else:
                self._claims.settle(processing, claim_id)
        return not self._claims.waiting(processing)

    def _return_claim(self, source: str, processing: str, claim_id: str) -> Flow[None]:
        if self.message_visibility_timeout_seconds is not None:
            return
        keys = lease_keys(processing)
        stored: Any = yield from self._command("get", keys.claim_result(claim_id))
        if stored is None:
            stored = yield from self._command("hget", keys.claim_result_ids, claim_id)
        if stored is not None:
            call = _core.requeue_plain(
                pending=source, processing=processing, claim_id=claim_id, stored=stored
            )
            yield from self._call(call)


class _Unknown(AbstractContextManager["_Unknown"]):
    """Calls `register` when a block is left while `is_set`, however it is left."""

    def __init__(self, register: Callable[[], None]) -> None:
        self._register = register
        self.is_set = False

    def __enter__(self) -> _Unknown:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_set:
            self._register()


def _jittered(seconds: float) -> float:
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads waiters, protects nothing


def _report_transient(claim_id: str, error: Exception) -> Flow[None]:
    logger.warning("Transient error while claiming, the same claim is repeated: %s", described(error))
    yield from current().emit(
        EventOperation.RETRY_ATTEMPT, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


def _report_exhausted(claim_id: str, error: Exception) -> Flow[None]:
    yield from current().emit(
        EventOperation.RETRY_EXHAUSTED, EventOutcome.FAILURE, claim_id=claim_id, error=error
    )


def _report_recovered(claim_id: str) -> Flow[None]:
    yield from current().emit(EventOperation.CLAIM_RECLAIM, EventOutcome.SUCCESS, claim_id=claim_id)
