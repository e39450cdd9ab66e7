"""What the engine needs from the place where workers run: Kubernetes, or the processes of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from redisqueue_operator.decide.children.plan import Children
from redisqueue_operator.decide.status import EventRecord

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.decide.canary import Split
    from redisqueue_operator.observe.facts import ApplyOutcome, ChildrenSeen, Fleet


@dataclass(frozen=True, slots=True)
class World:
    """What belongs to one RedisQueue: its workers, and all objects that make them."""

    fleet: Fleet
    children: ChildrenSeen


@dataclass(frozen=True, slots=True)
class Written:
    """How the children are after they were written; `live` as in ChildrenSeen."""

    outcome: ApplyOutcome
    live: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Have these pods (name and uid) be the first to go when their number shrinks, or no longer."""

    pods: tuple[tuple[str, str], ...]
    first: bool = True
    released: tuple[tuple[str, str], ...] = ()
    """Those of them that need not be left on their nodes any more."""


@dataclass(frozen=True, slots=True)
class Protect:
    """Have these pods (name and uid) be left on their nodes, or no longer: as many as there is room for."""

    pods: tuple[tuple[str, str], ...]
    protect: bool = True


@dataclass(frozen=True, slots=True)
class SetNumber:
    """Ask for that many workers, if their object is still what `fleet` says, canaries only where it has some.

    `victims` are the names of the pods to go first when it shrinks.
    """

    fleet: Fleet
    split: Split
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Replace .status, if the object is still the one that was seen."""

    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Have a deletion of the object wait for us, or no longer."""

    held: bool


Step = Children | Mark | Protect | SetNumber | WriteStatus | EventRecord | SetFinalizer
"""One write, or a few that belong together."""


class Platform(Protocol):
    """The engine's only way to the world. Reads are cheap (fed by watches), and nothing is chosen here.

    Every method may raise OSError, TimeoutError or PlatformError: the engine retries that key.
    """

    async def keys(self) -> list[Key]:
        """Every RedisQueue there is: a fresh list, not a cached one, where that makes a difference."""
        ...

    async def fill_gaps(self) -> bool:
        """Look again at what the last `keys` could not see; whether more, or less, can be seen now."""
        ...

    async def get(self, key: Key) -> dict[str, Any] | None:
        """The raw RedisQueue, or None when it is gone."""
        ...

    async def observe(self, rq: RedisQueue) -> World:
        """What there is of the object's children. Called at every look: it costs next to nothing."""
        ...

    async def execute(self, rq: RedisQueue, step: Step) -> Written | None:
        """Do one step; how the children are after they were written, None for the other steps.

        Raises Conflict when an object is no longer what the step was planned from.
        """
        ...

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> tuple[ConnectionSettings, float]:
        """How to reach the queue's Redis, with credentials, and the seconds since these were read.

        `fresh` reads the Secrets again (an auth error). Raises SettingsUnavailable or ValueError.
        """
        ...

    async def forget(self, key: Key) -> None:
        """The RedisQueue is gone: drop what is known of it, and stop workers nobody else would stop."""
        ...
