"""One wait of this process at a list: a message wakes one consumer of a process, not all of them."""

from __future__ import annotations

from redis_message_queue._fork import ForgottenAtFork


class Waiters(ForgottenAtFork):
    """At which lists a consumer blocks: the first to come; the others step in when it has left."""

    def forget(self) -> None:
        """Nobody waits."""
        self._first: dict[str, object] = {}

    def enter(self, source: str, consumer: object) -> bool:
        """True if `consumer` is the one to block at `source` now; `leave` when it has."""
        return self._first.setdefault(source, consumer) is consumer

    def leave(self, source: str) -> None:
        """Make room for the next one."""
        self._first.pop(source, None)
