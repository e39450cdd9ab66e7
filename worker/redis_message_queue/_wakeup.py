"""One wait of this process at a list: a message wakes one consumer of a process, not all of them."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import redis.exceptions

from redis_message_queue._flow import Flow, Sleep, pause
from redis_message_queue._fork import ForgottenAtFork
from redis_message_queue.client_checks import can_block
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from redis_message_queue._gateway import Sender

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
# How long one command waits for a message: an idle process sends two in this time, and a drain waits for it.
_BLOCK_SECONDS = 1.0
# How often a consumer looks whether another one still waits for both of them; the server is not asked.
_STEP_SECONDS = 0.05
_SHORTEST_SECONDS = 0.01


class SharedWait(ForgottenAtFork):
    """At which lists a consumer blocks: the first to come; the others step in when it has left."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.blocks = can_block(sender.client)
        super().__init__()

    def forget(self) -> None:
        """Nobody waits."""
        self._first: dict[str, object] = {}

    def enter(self, source: str, consumer: object) -> bool:
        """True if `consumer` is the one to block at `source` now; `leave` when it has."""
        return self._first.setdefault(source, consumer) is consumer

    def leave(self, source: str) -> None:
        """Make room for the next one."""
        self._first.pop(source, None)

    def until_pending(self, source: str, seconds: float, lost: int) -> Flow[bool]:
        """Wait until something is pending or a claim is due anyway, at most `seconds`; True if pending.

        One message wakes one waiter of each process. Of these, who was late `lost` times in a row polls for
        a while rather than blocks, up to a second: so a crowd thins out.
        """
        if not self.blocks:
            yield Sleep(min(POLL_SECONDS, seconds))
            return False
        if lost:
            yield from pause(
                _jittered(min(seconds, _BLOCK_SECONDS, 0.005 * 2 ** min(lost, 8))), self._sender.stopped
            )
        me = object()
        while not self.enter(source, me):
            if seconds <= 0 or self._sender.stopped():
                return False
            step = _jittered(_STEP_SECONDS)
            yield Sleep(min(seconds, step))
            seconds -= step
        # Who may be interrupted has to notice it sooner.
        longest = _BLOCK_SECONDS if self._sender.interrupt is None else POLL_SECONDS
        try:
            return (yield from self._block(source, max(_SHORTEST_SECONDS, min(longest, seconds))))
        finally:
            self.leave(source)

    def _block(self, source: str, seconds: float) -> Flow[bool]:
        try:
            # The tail goes back to the tail in one step: nothing moves, and nobody else sees anything.
            return (
                yield from self._sender.command("blmove", source, source, seconds, "RIGHT", "RIGHT")
            ) is not None
        except (*AWAY, UnicodeDecodeError) as error:
            if isinstance(error, redis.exceptions.NoPermissionError):
                logger.info("No right to wait for %s, polling instead: %s", source, error)
                self.blocks = False
            # Whatever else it is, the claim that follows meets it as well, and reports it.
            yield Sleep(min(POLL_SECONDS, seconds))
        return False


def _jittered(seconds: float) -> float:
    return seconds * (0.5 + random.random() / 2)  # noqa: S311 - spreads waiters, protects nothing
