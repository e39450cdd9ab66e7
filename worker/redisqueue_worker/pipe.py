"""The words between a worker and the process of one of its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from redisqueue_worker.failures import Failure


class Work(NamedTuple):
    """To the process: handle this. It answers with Extended, as often as it likes, and then Ended."""

    payload: str | bytes
    id: str | None
    delivery_count: int
    remaining_seconds: float | None


class News(NamedTuple):
    """To the process: what changed for the message that it has in hand."""

    draining: bool
    lease_lost: bool


class Ready(NamedTuple):
    """From the process, its first word: the handler is there, or `problem` says why not.

    Attributes:
        taken: what the handler's code took over at its import and its start-up hooks.
    """

    problem: Exception | None = None
    taken: tuple[str, ...] = ()


class Extended(NamedTuple):
    """From the process: the handler moved its deadline."""

    seconds: float


class Ended(NamedTuple):
    """From the process: the handler returned, or failed. `worn` says why the process wants to be replaced."""

    failure: Failure | None
    worn: str
