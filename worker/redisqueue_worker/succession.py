"""A worker that begins where another one ended: what the dead one had in hand is given back at once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from redisqueue_worker.settings import Settings


log = logging.getLogger(__name__)

_MOST_REMEMBERED = 100


class Succession:
    """The dead processes that had this run directory before, until their leases are given back.

    The kernel gives the lock to one process alone, and takes it from a dead one. Who does not get it knows
    of nobody's end, and neither does anybody of its.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._settings = settings
        self._path = folder / "instances"
        self._ended: tuple[str, ...] = ()
        # What is forked shares the lock, and what is started does not inherit it.
        with contextlib.suppress(OSError):
            self._file = self._path.open("a+")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            before = self._file.read().split()[-_MOST_REMEMBERED:]
            self._ended = tuple(each for each in before if each != settings.instance)
            self._remember(*self._ended)

    def give_back(self) -> None:
        """Have what they held come again at once. Raises one of `trouble.AWAY`."""
        if not self._ended:
            return
        from redis_message_queue.holders import expire_leases  # noqa: PLC0415  (most begin after nobody)
        from redis_message_queue.keys import QueueKeys  # noqa: PLC0415

        settings = self._settings
        keys = QueueKeys(settings.queue, settings.key_separator)
        with contextlib.closing(settings.connection.connect()) as client:
            returned = sum(expire_leases(client, keys, each) for each in self._ended)
        if returned:
            log.warning(
                "the process before this one has died: its messages are back", extra={"returned": returned}
            )
        self._ended = ()
        with contextlib.suppress(OSError):
            self._remember()

    def _remember(self, *others: str) -> None:
        self._file.truncate(0)
        self._file.write("".join(f"{each}\n" for each in (*others, self._settings.instance)))
        self._file.flush()
