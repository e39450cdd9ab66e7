"""A consumer whose calls overlap: a second one is sent before the first is answered.

So Redis works on one call while this process sees to what the other one brought. For threads alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import exceptions

from redis_message_queue import _transport
from redis_message_queue._batch import requests
from redis_message_queue._kept_connection import KeptConnection, give_back, hang_up, kept_by, lend, packed
from redis_message_queue.consumer import Consumer, Due, Settlement, SettleReply
from redis_message_queue.trouble import AWAY, is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue._batch import Attempt

__all__ = ["PipelinedConsumer"]

# A first call that takes longer is waited for without another look at what has ended meanwhile.
_LONGEST_LOOK_SECONDS = 1.0


class _Asked(NamedTuple):
    """A call under way: what was asked, and the attempt unless it is too large to be one request."""

    settlements: Sequence[Settlement]
    claim: int
    in_hand: int | None
    due: Due
    attempt: Attempt | None


class PipelinedConsumer(Consumer):
    """A Consumer of one thread, with `settle` in two halves: `send`, and later `receive`.

    Replies come in the order of the calls. Each call may be repeated, as every call of a Consumer: where a
    connection is lost, `receive` repeats what was sent there.
    """

    def __init__(self, client: Any, name: str, **options: Any) -> None:
        super().__init__(client, name, **options)
        self._under_way: deque[_Asked] = deque()
        self._line: tuple[KeptConnection, Any] | None = None

    @property
    def unresolved(self) -> int:
        """How many claims lost their reply and were not repeated yet: see `recover`."""
        return self._state.unresolved

    @property
    def may_overlap(self) -> bool:
        """Whether what is sent next is on its way at once, and does not wait for `receive`.

        It does with a plain client of redis-py over one server, whose commands nobody traces or counts.
        """
        if not self._under_way:
            return kept_by(self._client) is not None
        if self._line is None:
            return False
        kept, connection = self._line
        moves = getattr(connection, "should_reconnect", None)  # since redis-py 7
        return not (kept.is_former(connection) or (moves is not None and moves()))

    def send(
        self,
        settlements: Sequence[Settlement],
        claim: int = 0,
        *,
        in_hand: int | None = None,
        due: Due = Due.FIRST,
    ) -> None:
        """Begin what `settle` does with the same arguments. Raises nothing: `receive` does."""
        attempt = None
        if self.may_overlap and len(requests(settlements)) == 1:
            attempt = self._state.begin(settlements, claim, in_hand=in_hand, due=due)
        self._under_way.append(_Asked(settlements, claim, in_hand, due, attempt))
        if not attempt:
            return
        try:
            connection = self._connection()
            # Where a reply is on its way, the PING of a health check would take it for its own.
            alone = len(self._under_way) == 1
            connection.send_packed_command([packed(attempt.call, connection)], check_health=alone)
        except AWAY:
            self._hang_up()

    def wait_for_reply(self) -> None:
        """Wait until the reply to the first call begins to arrive, for a second at most."""
        if self._line is None:
            return
        # The look of an older redis-py with hiredis takes the reply, and then decodes it or hides its error.
        if hasattr(self._line[1]._parser, "_next_response"):  # noqa: SLF001
            return
        try:
            self._line[1].can_read(_LONGEST_LOOK_SECONDS)
        except AWAY:
            self._hang_up()

    def receive(self) -> SettleReply:
        """The reply to the first call under way.

        Raises what `settle` raises. No call is under way then, and each may be repeated.
        """
        try:
            settled = self._settled(self._under_way[0])
        except BaseException as error:
            if isinstance(error, exceptions.ResponseError):
                self._read_off()
                self._put_back()
            self.abandon()
            raise
        self._under_way.popleft()
        if not self._under_way:
            self._put_back()
        return settled

    def abandon(self) -> None:
        """Give up what is under way: each call may have been carried out, and may be repeated."""
        for one in reversed(self._under_way):  # the first is the first to be repeated
            if one.attempt:
                self._state.lost(one.attempt)
        self._under_way.clear()
        self._hang_up()

    def _settled(self, asked: _Asked) -> SettleReply:
        settlements, claim, in_hand, due, attempt = asked
        if not attempt:
            return self.settle(settlements, claim, in_hand=in_hand, due=due)
        reply = self._reply_to(attempt)
        if given_up := reply[0].claimed.given_up:
            self._free_keys(given_up)
        return self._state.done(attempt, reply)

    def _connection(self) -> Any:
        if self._line is None:
            kept = kept_by(self._client)
            if kept is None:  # somebody has begun to trace commands
                raise exceptions.ConnectionError("the client has no connection to keep any more")
            self._line = kept, lend(kept)
        return self._line[1]

    def _reply_to(self, attempt: Attempt) -> tuple[SettleReply, int]:
        call = attempt.call
        if self._line is None:
            reply = _transport.execute(self._client, call)
        else:
            try:
                reply = call.parse(self._line[1].read_response(disable_decoding=call.raw))
            except AWAY as error:
                if not self._may_repeat(error):
                    raise
                reply = _transport.execute(self._client, call)
        # None: it did not find all messages that were named to it, and did nothing.
        return _transport.execute(self._client, attempt.whole) if reply is None else reply

    def _may_repeat(self, error: Exception) -> bool:
        """Whether to ask once more, and not on a connection that was lost or leads to the wrong server.

        What was waited for as long as the client waits would hold up everything else for as long again.
        """
        if isinstance(error, exceptions.NoScriptError):
            return True
        if isinstance(error, exceptions.TimeoutError):
            return False
        if isinstance(error, exceptions.ResponseError):
            if not is_elsewhere(error):
                return False
            self._read_off()
        self._hang_up()
        return True

    def _read_off(self) -> None:
        """Wait for all replies but the first: what is repeated while it is on its way is done twice."""
        if not self._line:
            return
        for _ in [asked for asked in [*self._under_way][1:] if asked.attempt]:
            try:
                self._line[1].read_response(disable_decoding=True)
            except exceptions.ResponseError:
                continue
            except AWAY:
                self._hang_up()
                return

    def _put_back(self) -> None:
        if self._line:
            give_back(*self._line)
            self._line = None

    def _hang_up(self) -> None:
        if self._line:
            hang_up(*self._line)
            self._line = None
