# Written by worker/sync_face.py from asyncio/_looking.py: change that.
"""What a queue object tells of its messages: where one is, what became of it, what was given up or failed."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from redis_message_queue import _io, envelope, results, validation
from redis_message_queue._admin import find, read_letters, take_letters
from redis_message_queue._cancelling import cancel
from redis_message_queue._processing import Op, Out, elapsed_ms
from redis_message_queue._queue import BaseQueue
from redis_message_queue._results import wait_for_result
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.looking import checked_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis_message_queue.cancelling import Cancellation
    from redis_message_queue.looking import Letter, Location
    from redis_message_queue.results import Result

RedriveSource = Literal["dead_letter", "failed"]


class LookingQueue(BaseQueue):
    """A queue object that finds its messages, and takes single letters out."""

    def find(self, message_id: str, *, timeout_seconds: float | None = None) -> Location:
        """Where the message with this id is, and since when or until when; "unknown" if it is nowhere.

        Completed, failed and dead ones are known while they are kept, and among the last 1000 that workers (a
        `Consumer`) have put there. It reads the queue until it has found the message, so an unknown one costs
        most: a thousand entries or 1 MiB in a round trip, each about a millisecond of the server. In a queue
        that takes several, what goes back to a place that was looked at, as by a retry, may be missed.

        Args:
            message_id: of its receipt.
            timeout_seconds: look for so long at most, whatever the client is still trying; by default each
                round trip is repeated as long as any other call.

        Raises TypeError or ConfigurationError for an argument, redis-py's errors, RetryBudgetExhaustedError
        when Redis does not answer in time.
        """
        _check_id(message_id)
        search = partial(find, self._sender_for("find()"), self.key, self._dead_letters(), message_id)
        if timeout_seconds is None:
            return search()
        validation.check(timeout_seconds=timeout_seconds)
        if not timeout_seconds:
            raise ConfigurationError("'timeout_seconds' must be above 0, got 0: leave it out for no limit")
        found: Location = _io.in_time(timeout_seconds, search, "find() gave up after 'timeout_seconds'")
        return found

    def result(
        self,
        message_id: str,
        *,
        timeout_seconds: float = 0,
        type: Any = None,  # noqa: A002
    ) -> Result | None:
        """What became of the message with this id, and what its handler returned; None if that is not known.

        It is known once the message has ended in a worker (a `Consumer`) that keeps results, and for as long
        as that keeps them.

        Args:
            message_id: of its receipt.
            timeout_seconds: wait so long for its end. Redis tells at once; until then a connection of the
                client is in use, and trouble that may pass is waited out. Any number may wait for the same.
            type: what `value` is to be, as a handler's parameter would be annotated: a dataclass, a pydantic
                model, `list[UUID]`. By default it is as JSON has it.

        Raises TypeError or ConfigurationError for an argument, ValueError for what is no result or has a
        value of another type, redis-py's errors.
        """
        _check_id(message_id)
        validation.check(timeout_seconds=timeout_seconds)
        read = results.reader_for(type)
        sender = self._sender_for("result()")
        text = wait_for_result(sender, self.key.result(envelope.sayable(message_id)), timeout_seconds)
        return None if text is None else read(text)

    def cancel(self, message_id: str) -> Cancellation:
        """Cancel the message with this id.

        "removed": it waited, and is out: nobody starts it. "requested": somebody has it in hand. A worker
        hears of it within some 2 s, and ends an async handler or a process slot, while a thread can only
        look (`context.cancelled`); however it ends, the message does not come again, unless a 7.0.0 peer
        takes it. "finished": it has ended before. "unknown": it is nowhere.

        What was cancelled has that as its result for an hour, or as long as its worker keeps results, and
        frees its deduplication key. It costs what `find()` costs.

        Raises TypeError or ConfigurationError for an argument, redis-py's errors, RetryBudgetExhaustedError
        when Redis stays away: then it may be cancelled or not, and the call may be repeated.
        """
        _check_id(message_id)
        sender, began = self._sender_for("cancel()"), time.monotonic()
        try:
            answer = cancel(sender, self.key, self._dead_letters(), message_id)
        except Exception as error:
            facts = {"error": error, "duration_ms": elapsed_ms(began)}
            self._reporter.emit(Op.CANCEL, Out.FAILURE, message_id=message_id, **facts)
            raise
        outcome = Out.SUCCESS if answer in ("removed", "requested") else Out.SKIPPED
        self._reporter.emit(Op.CANCEL, outcome, message_id=message_id, duration_ms=elapsed_ms(began))
        return answer

    def dead_letters(self, count: int = 100, *, start: int = 0) -> list[Letter]:
        """What was given up, newest first: `count` behind the first `start`, or 1 MiB if that is less.

        With why, when and by whom, where a worker did it; the last 1000 are told of. Which of equal payloads
        a record belongs to is told by its place, and so not for certain where others were put between them.
        """
        return self._letters(self._dead_letters(), self.key.dead_letter_info, count, start)

    def failed(self, count: int = 100, *, start: int = 0) -> list[Letter]:
        """What failed for good and is kept, as `dead_letters()` tells it."""
        return self._letters(self.key.failed, self.key.failed_info, count, start)

    def redrive_letters(
        self, message_ids: Iterable[str], *, source: RedriveSource = "dead_letter"
    ) -> dict[str, str]:
        """Make these dead or failed messages pending again; the new id of each that was there.

        They are known by the records of workers, as `dead_letters()` has them, and of several under one id
        the newest is taken; it reads the letters until it has found all. Otherwise as `redrive()`. Raises
        TypeError for an id that is no str, as None is, which letters have that no worker of ours ended.
        """
        return self._take(message_ids, source, redrives=True)

    def delete_letters(
        self, message_ids: Iterable[str], *, source: RedriveSource = "dead_letter"
    ) -> list[str]:
        """Remove these dead or failed messages for good; the ids of those that were there.

        Known, and refused, as in `redrive_letters()`.
        """
        return [*self._take(message_ids, source, redrives=False)]

    def _letters(self, source: str, records: str, count: int, start: int) -> list[Letter]:
        validation.check(count=count, start=start)
        sender = self._sender_for("dead_letters() and failed()")
        return read_letters(sender, source, records, start, count)

    def _take(self, message_ids: Iterable[str], source: str, *, redrives: bool) -> dict[str, str]:
        sender = self._sender_for("redrive_letters() and delete_letters()")
        key = self._list_named("source", source, get_args(RedriveSource))
        records = self.key.failed_info if source == "failed" else self.key.dead_letter_info
        ids = checked_ids(message_ids)
        return take_letters(sender, self.key, key, records, ids, redrives=redrives)

    def _dead_letters(self) -> str:
        return self._gateway.dead_letter_queue or self.key.dead_letter

    def _list_named(self, argument: str, name: str, choices: tuple[str, ...]) -> str:
        if name not in choices:
            allowed = ", ".join(map(repr, choices))
            raise ConfigurationError(f"'{argument}' must be one of {allowed}, got {name!r}")
        return self._dead_letters() if name == "dead_letter" else str(getattr(self.key, name))


def _check_id(message_id: str) -> None:
    if not isinstance(message_id, str):
        raise TypeError(f"'message_id' must be a str, got {type(message_id).__name__}")
    validation.check(message_id=message_id)
