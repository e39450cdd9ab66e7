"""What the engine needs from the place where workers run: Kubernetes, or the processes of this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from redisqueue_operator.decide.canary import Split, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.decide.canary import Versions
    from redisqueue_operator.decide.status import EventRecord
    from redisqueue_operator.observe.facts import ApplyOutcome, PodObservation


class PlatformError(Exception):
    """The platform answered, and refused: worth a line in the log, and another try later.

    `passing` says that the same question gets another answer in a moment: it has too much to do, or stumbled.
    """

    passing = False


class Conflict(PlatformError):
    """The object changed since it was observed: observe again and decide again."""


class SettingsUnavailable(Exception):
    """The connection settings cannot be built yet, for example because a Secret is missing.

    `reason` is a CamelCase word for a condition, the message is for a person and holds no credential.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Canary:
    """The object of the workers that try a new template; `version` as in Fleet."""

    replicas: int
    version: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers of one RedisQueue, as the platform sees them now."""

    replicas: int | None = None
    """How many workers are asked for, canaries included; None while there is nothing to scale yet."""
    ready_replicas: int = 0
    active_replica_sets: int = 0
    """Generations of the worker template that have workers; above 1 a rollout is under way."""
    pods: tuple[PodObservation, ...] = ()
    version: str = ""
    """Opaque. `Platform.scale` raises Conflict when the workers' object has moved on from it."""
    canary: Canary | None = None
    replica_failure: str = ""
    """Why pods cannot be created (or deleted), in the platform's own words; empty when they can."""
    overdue: str = ""
    """That new workers did not get ready within the platform's deadline, in its words; else empty."""

    @property
    def split(self) -> Split:
        """How many workers of each version are asked for."""
        canaries = self.canary.replicas if self.canary else 0
        return Split((self.replicas or 0) - canaries, canaries)

    def without_canary(self) -> Fleet:
        """The same when the canaries are about to leave: they finish, and others take their place."""
        if self.canary is None:
            return self
        pods = tuple(replace(pod, terminating=pod.terminating or pod.canary) for pod in self.pods)
        ready = sum(pod.ready and not pod.terminating for pod in pods)
        return replace(self, replicas=self.split.stable, ready_replicas=ready, pods=pods, canary=None)


def always_roll(_: Versions) -> Stage:
    """The choice where there are no canaries."""
    return Stage.ROLL


class Platform(Protocol):
    """The engine's only way to the world. Reads are cheap (fed by watches), writes happen only on change.

    Every method may raise OSError, TimeoutError or PlatformError: the engine retries that key.
    """

    async def keys(self) -> list[Key]:
        """Every RedisQueue there is: a fresh list, not a cached one, where that makes a difference."""
        ...

    async def fill_gaps(self) -> bool:
        """Look again at what the last `keys` could not see; whether something of it can be seen now."""
        ...

    async def get(self, key: Key) -> dict[str, Any] | None:
        """The raw RedisQueue, or None when it is gone."""
        ...

    async def observe(self, rq: RedisQueue) -> Fleet: ...

    async def apply(self, rq: RedisQueue, choose: Callable[[Versions], Stage] = always_roll) -> ApplyOutcome:
        """Make the children what the spec says, except for the number of workers (it starts at 0).

        `choose` is asked which workers get the template of the spec, where there are canaries.
        Called at every reconcile, so it must write nothing, and cost next to nothing, when nothing changed.
        """
        ...

    async def scale(self, rq: RedisQueue, fleet: Fleet, split: Split, victims: tuple[str, ...]) -> None:
        """Ask for that many workers, canaries only where `fleet` has some.

        `victims` are the ids (pod names) to go first when it shrinks.

        Raises Conflict when the workers' object is no longer at `fleet.version`.
        """
        ...

    async def connection_settings(
        self, rq: RedisQueue, *, fresh: bool = False
    ) -> tuple[ConnectionSettings, float]:
        """How to reach the queue's Redis, with credentials, and the seconds since these were read.

        `fresh` reads the Secrets again (an auth error). Raises SettingsUnavailable or ValueError.
        """
        ...

    async def write_status(self, rq: RedisQueue, status: dict[str, Any]) -> None:
        """Replace .status. Raises Conflict when the object has moved on from `rq.raw`."""
        ...

    async def hold(self, rq: RedisQueue, held: bool) -> None:
        """Have a deletion of the object wait for us, or no longer. Raises Conflict."""
        ...

    async def emit(self, rq: RedisQueue, event: EventRecord) -> None: ...

    async def take_over(self, rq: RedisQueue) -> None:
        """Another operator, whose children `apply` refused to write, is not at work any more."""
        ...

    async def forget(self, key: Key) -> None:
        """The RedisQueue is gone: drop what is remembered of it, and stop workers nobody else would stop."""
        ...
