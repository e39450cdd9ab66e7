"""What one look at a RedisQueue sees, what is remembered of it, and what it leads to: plain, frozen data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.attempt import Attempt
from redisqueue_operator.decide.canary import trial
from redisqueue_operator.decide.children.plan import Known
from redisqueue_operator.decide.version_skew import Precedence
from redisqueue_operator.observe.facts import ApplyOutcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from redis_message_queue.stats import QueueSample
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.canary import Rollout, Split
    from redisqueue_operator.decide.children.plan import Children
    from redisqueue_operator.decide.queue_conflict import Claimant
    from redisqueue_operator.decide.scaling import Ceiling, Decision, History
    from redisqueue_operator.decide.status import EventRecord
    from redisqueue_operator.decide.status.worth import Path
    from redisqueue_operator.observe.facts import ChildrenSeen, Fleet, Hindrance, Observation
    from redisqueue_operator.platform import Written

Object = dict[str, Any]

NO_SPEC = ApplyOutcome(ok=False, reason="InvalidSpec", message="")
LONG_AGO = float("-inf")


@dataclass(frozen=True, slots=True)
class Now:
    """The moment of a look."""

    clock: float
    """Seconds, monotonic: for histories and intervals."""
    wall: float
    """Seconds since the epoch by the clock that dates the objects: for deadlines and for status."""
    chance: float = 0.0
    """In [0, 1): spreads what would else happen at once."""
    crowded: bool = False
    """As many statuses are being written already as may be at once."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that one look saw. Only `raw` is known where nobody is to look further."""

    raw: Object
    """The newest version of the object."""
    rq: RedisQueue
    """The same, typed; with the smallest spec there is where its own says nothing usable."""
    problem: str = ""
    """Why the spec says nothing usable; empty when it does."""
    fleet: Fleet | None = None
    children: ChildrenSeen | None = None
    observation: Observation | None = None
    sample: QueueSample | Exception | None = None
    """What the queue's Redis said last; None before it said anything."""
    claimants: Mapping[str, Claimant] = field(default_factory=dict)
    """The RedisQueues that this operator serves, by uid."""
    settings_for: float = math.inf
    """Seconds until the way to Redis is to be asked for again."""
    ceiling: Ceiling | None = None
    """What its RedisQueueBudget leaves it; None where it has none."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What is remembered of the pods of one RedisQueue. Times are the engine's clock."""

    needed_at: Mapping[str, float] = field(default_factory=dict)
    """When a protected pod, by its uid, was last seen to need it, or when nobody knew."""
    written_at: float = float("-inf")
    hindrance: Hindrance | None = None
    """Why pods cannot be written to; its message is empty where nobody is to be told."""
    told: bool = False
    """An Event has said so."""

    def after(self, hindrance: Hindrance | None) -> Protection:
        """Once a batch was written, or could not be."""
        return replace(self, hindrance=hindrance, told=self.told and hindrance is not None)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one RedisQueue between two looks; safe to lose. Times are the engine's clock."""

    history: History
    rollout: Rollout | None = None
    """The last trial of a new template, as `.status.rollout` has it."""
    children: Known = field(default_factory=Known)
    outcome: ApplyOutcome = NO_SPEC
    """How the children were at the last look."""
    observation: Observation | None = None
    decision: Decision | None = None
    precedence: Precedence = field(default_factory=Precedence)
    prior_claimant: Claimant | None = None
    """The RedisQueue with the older right to the same queue."""
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    """Writes that failed, by the field of the plan: `finalizer`, `children`, `scale`, `status`."""
    remark: str | None = None
    """What was last told not to be right although all was applied; None after a start."""
    hindrance: Hindrance | None = None
    """Why the last change of the number of workers could not be made."""
    given_back: tuple[str, ...] = ()
    """Instances of dead workers whose messages were given back, as long as samples still name them."""
    returned: int = 0
    """How many messages that were, and nobody was told of yet."""
    unreturned: Hindrance | None = None
    """Why messages of dead workers cannot be given back; its message is empty where nobody is to be told."""
    protection: Protection = field(default_factory=Protection)
    scaled: Decision | None = None
    """What was written to /scale and not yet to the status."""
    scaled_at: float = LONG_AGO
    looked_at: float = LONG_AGO
    """When a status was last thought of."""
    written_at: float = LONG_AGO
    deletion_seen_ms: int | None = None
    """Redis' time at the last sample when the deletion was first seen: only newer ones say what is left."""
    lost: tuple[Path, ...] = ()
    """Fields of the status that the API server does not keep: an older definition knows none of that name."""
    deletion_reported: bool = False
    """The Events of its deletion were told: a look that does not see it yet tells them no second time."""

    def attempt(self, step: str) -> Attempt:
        """How that kind of write went lately."""
        return self.attempts.get(step) or Attempt()

    def after(self, step: str, attempt: Attempt | None = None) -> Memory:
        """The same after one more; without an attempt, all is well with it."""
        if attempt is None and step not in self.attempts:
            return self
        others = {each: known for each, known in self.attempts.items() if each != step}
        return replace(self, attempts=others if attempt is None else {**others, step: attempt})

    def not_ours(self, now: float) -> str:
        """Why the number of workers is not ours to write; empty when it is."""
        if self.prior_claimant is not None:
            return "Conflict"
        return "" if self.precedence.may_scale(self.outcome, now) else self.outcome.reason

    def yields(self, now: float) -> bool:
        """Whether the object is left alone, for another operator is at work on it."""
        return self.precedence.yields_until > now


@dataclass(frozen=True, slots=True)
class Scale:
    """A change of the number of workers, from what `fleet` was when it was seen."""

    fleet: Fleet
    split: Split
    victims: tuple[str, ...] = ()
    """Names of the pods to go first."""
    decision: Decision | None = None
    """None where it only starts canaries."""
    percent: float | None = None
    """The canaries' part of those that are started."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.split != self.fleet.split

    def sparing(self, refused: Collection[str]) -> Scale:
        """The same when these workers stay: they took a message before they could be told."""
        if not refused or self.decision is None or self.decision.drain_busy:
            return self
        victims = tuple(name for name in self.victims if name not in refused)
        target = sum(self.split) + len(refused)
        return replace(self, victims=victims, split=trial.placed(self.fleet, target, victims, self.percent))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in the order in which it is done, and what to remember of the look."""

    memory: Memory
    sampled: bool = True
    """False: the queue is not to be read any more."""
    give_back: tuple[str, ...] = ()
    """Instances of dead workers, whose messages shall be pending again."""
    children: Children | None = None
    retire: tuple[str, ...] = ()
    """Ids of idle workers that shall claim nothing more, before the number of workers changes."""
    scale: Scale | None = None
    recall: tuple[str, ...] = ()
    """Ids of retired workers that shall claim again: the shrink took others."""
    protect: tuple[tuple[str, str], ...] = ()
    """Pods (name and uid) that shall be left on their nodes."""
    release: tuple[tuple[str, str], ...] = ()
    """Pods of which that is no longer asked."""
    status: Object | None = None
    """To be written in place of the present one."""
    events: tuple[EventRecord, ...] = ()
    finalizer: bool | None = None
    """Have a deletion wait for us (True), or no longer (False)."""
    again: float = math.inf
    """Seconds until the next look, if nothing happens before."""
    untold: bool = False
    """There is a status to write, for which there is no room now."""
    remark: str | None = None
    """What of `Memory.remark` the Events tell; None where they tell nothing of it."""
    shown: Object | None = None
    """What the status would be, whether or not it is worth a write."""
    why: str = ""
    """Why a deletion waits no longer."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a plan: the facts that its steps have made."""

    failed: str = ""
    """The field of the step that ended it; empty when all was done."""
    error: Exception | None = None
    """Why; None where the step found that there was nothing to do."""
    hindrance: Hindrance | None = None
    """The same for people, where it was the number of workers."""
    written: Written | None = None
    """How the children are now; None where none were written."""
    scaled: Split | None = None
    """The numbers of workers that were written."""
    told: bool = False
    """The status was written."""
    lost: tuple[Path, ...] = ()
    """The fields of it that the API server did not keep."""
    returned: int | None = None
    """How many messages of dead workers were given back; None where that was not tried, or refused."""
    unreturned: Hindrance | None = None
    """Why they could not be given back. It ends nothing: all else goes on."""
    unprotected: Hindrance | None = None
    """The same of the protection of pods."""
