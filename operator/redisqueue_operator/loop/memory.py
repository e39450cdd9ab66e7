"""What the engine remembers of one RedisQueue between two looks: a cache and a history, never the truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import parse
from redisqueue_operator.apply.attempt import Attempt
from redisqueue_operator.decide.canary import Stage
from redisqueue_operator.decide.version_skew import Precedence
from redisqueue_operator.observe.facts import ApplyOutcome

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.canary import Rollout, Versions
    from redisqueue_operator.decide.queue_conflict import Claimant
    from redisqueue_operator.decide.scaling import Decision, History
    from redisqueue_operator.observe.facts import Hindrance, Observation

NO_SPEC = ApplyOutcome(ok=False, reason="InvalidSpec", message="")
LONG_AGO = float("-inf")
SETTINGS_SECONDS = 60.0
UNUSABLE_SETTINGS_SECONDS = 5.0


@dataclass(slots=True)
class Tracked:
    """One RedisQueue. Times are the engine's clock; `raw` is its newest version, `rq` the same, typed."""

    uid: str
    history: History
    raw: dict[str, Any] | None = None
    rq: RedisQueue | None = None
    """None while the spec says nothing usable; `problem` then says why."""
    problem: str = ""
    settings: ConnectionSettings | None = None
    settings_error: Exception | None = None
    settings_at: float = LONG_AGO
    refused: bool = False
    """Redis refused these settings' credentials at the last sample."""
    scaled_at: float = LONG_AGO
    status_looked_at: float = LONG_AGO
    status_written_at: float = LONG_AGO
    outcome: ApplyOutcome = NO_SPEC
    observation: Observation | None = None
    decision: Decision | None = None
    finalizer: Attempt = field(default_factory=Attempt)
    children: Attempt = field(default_factory=Attempt)
    number: Attempt = field(default_factory=Attempt)
    report: Attempt = field(default_factory=Attempt)
    remark: str | None = None
    """What was last told not to be right although all was applied; None after a start."""
    pods_made: tuple[int | None, int] = (None, 0)
    """How many pods were wanted and were there, since `pods_made_at`."""
    pods_made_at: float = LONG_AGO
    hindrance: Hindrance | None = None
    """Why the last change of the number of workers could not be made."""
    scaled: Decision | None = None
    """What was written to /scale and not yet to the status."""
    deletion_seen_ms: int | None = None
    """Redis' time at the last sample when the deletion was first seen: only newer ones say what is left."""
    precedence: Precedence = field(default_factory=Precedence)
    rival: Claimant | None = None
    """The RedisQueue with the older right to the same queue."""
    rollout: Rollout | None = None
    """The last trial of a new template, as `.status.rollout` has it."""
    versions: Versions | None = None
    """The templates at the last apply; None where there are no canaries."""
    stage: Stage = Stage.ROLL

    @property
    def settings_for(self) -> float:
        """Seconds from `settings_at` until they are asked for again: a Secret may have changed."""
        usable = self.settings is not None and self.settings_error is None and not self.refused
        return SETTINGS_SECONDS if usable else UNUSABLE_SETTINGS_SECONDS

    def take(self, raw: dict[str, Any]) -> None:
        """Remember the newest version, typed anew when its spec changed: a newer status costs nothing."""
        if raw is self.raw:
            return
        metadata = raw["metadata"]
        self.raw, self.status_looked_at = raw, LONG_AGO
        if self.rq is not None and self.rq.generation == metadata.get("generation"):
            self.rq = replace(self.rq, raw=raw, deletion=bool(metadata.get("deletionTimestamp")))
            return
        try:
            self.rq, self.problem = parse(raw), ""
        except ValueError as error:
            self.rq, self.problem = None, str(error)
        self.settings_at = LONG_AGO


def stand_in(raw: dict[str, Any]) -> RedisQueue:
    """Who an unusable object is, for writing down why it is: its identity with the smallest spec there is."""
    smallest = {"redis": {"url": "redis://unused"}, "worker": {"handler": "unused:unused"}}
    return replace(parse({**raw, "spec": smallest}), raw=raw)
