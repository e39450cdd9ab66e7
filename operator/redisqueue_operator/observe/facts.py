"""What the operator saw: plain, frozen data between the I/O that observes and the functions that decide.

Nothing here reads a clock, Redis or Kubernetes. An age is measured by whoever observed: two clocks are
never compared. What could not be read is `None`, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from redisqueue_operator.decide.canary.share import Split

FRESH_SECONDS = 10.0
"""A worker refreshes its report every 2 s; one older than this says nothing about now."""


@dataclass(frozen=True, slots=True)
class QueueObservation:
    """Counters of one queue, read together from Redis. Counts are messages."""

    pending: int
    delayed: int
    delayed_due: int
    """Delayed messages whose time has come: work, although no consumer promoted them yet."""
    next_due_seconds: float | None
    """Until the next delayed message is due; None when none waits."""
    in_flight: int
    """Claimed messages with a lease, expired ones included."""
    expired: int
    """Leases that ran out. Only a consumer takes such a message back."""
    orphaned: int
    """Messages in processing without a lease: nobody will ever take them back by itself."""
    failed: int
    dead_letter: int
    claims_total: int | None
    """Claims ever made (the lease token counter); None when unknown. A smaller value later is a reset."""
    time_ms: int
    """Redis' own clock at the sample, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ServerObservation:
    """What a Redis says of itself that decides whether messages are safe there."""

    concerns: tuple[tuple[str, str], ...] = ()
    """What is wrong, the worst first: a CamelCase reason and a sentence for people."""
    unknown: tuple[str, ...] = ()
    """What it does not tell the operator's login."""


@dataclass(frozen=True, slots=True)
class WorkerObservation:
    """What one worker last said of itself. `id` is its pod's name (or the local process' name)."""

    id: str
    pod_uid: str
    slots: int
    busy: int
    oldest_start_age_seconds: float | None
    """Age of the oldest handler that runs; None when none runs."""
    draining: bool
    age_seconds: float
    """Age of this report by Redis' clock."""
    retired: bool
    """The operator asked this idle worker to claim nothing more."""
    tripped: bool = False
    """Only failures: its circuit breaker lets it try one message now and then."""

    @property
    def is_fresh(self) -> bool:
        """Whether its report still says something about now."""
        return self.age_seconds <= FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Others:
    """What the workers of others contribute to a queue that is shared: slots in all, and those that work."""

    slots: int = 0
    busy: int = 0


CRASHED = "Crashed"
"""Why a pod fails whose container ended and has not started again: the cluster has no word for that yet."""


@dataclass(frozen=True, slots=True)
class PodObservation:
    """One worker pod as the cluster knows it."""

    name: str
    uid: str
    ready: bool
    terminating: bool
    age_seconds: float
    unschedulable: bool
    failing: str
    """Why it cannot work (`CrashLoopBackOff`, `ImagePullBackOff`, …); empty when nothing is wrong."""
    canary: bool = False
    """It has a template that is on trial."""
    words: str = ""
    """What the cluster says of a pod that fails or finds no room: the cause; `failing` is the symptom."""
    template: str = ""
    """The config hash of its template; empty when it says none."""
    outdated: bool = False
    """Its template is not the one that new pods of its kind get."""
    protected: bool | None = None
    """We have it left on its node; None where there is no node that somebody might want back."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that one decision is made from."""

    queue: QueueObservation | None
    """None when Redis could not be read; `redis_reason` then says why."""
    redis_reason: str
    """`Connected`, or a reason of `observe.redis.errors.classify`."""
    redis_message: str
    workers: tuple[WorkerObservation, ...]
    pods: tuple[PodObservation, ...]
    replicas: int | None
    """The Deployment's `spec.replicas`; None while there is no Deployment."""
    ready_replicas: int
    active_replica_sets: int
    """ReplicaSets that want pods: more than one means that a rollout is under way."""
    canaries: int = 0
    """How many of `replicas` shall be canaries."""
    server: ServerObservation | None = None
    """None as long as it was not asked."""
    others: Others = Others()
    """None where the queue is not shared."""
    replica_failure: str = ""
    """Why pods cannot be created (or deleted), in the cluster's own words; empty when they can."""
    overdue: str = ""
    """That new pods did not get ready within the Deployment's deadline, in its words; else empty."""
    unmade_seconds: float = 0.0
    """How long already fewer pods are there than are wanted, and none is made."""
    unreturned: str = ""
    """Why messages of dead workers cannot be given back; empty when they can, or there are none."""
    unseen: bool = False
    """As of Fleet."""


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
    """Opaque. A change of the number raises Conflict when the workers' object has moved on from it."""
    canary: Canary | None = None
    replica_failure: str = ""
    """Why pods cannot be created (or deleted), in the platform's own words; empty when they can."""
    overdue: str = ""
    """That new workers did not get ready within the platform's deadline, in its words; else empty."""
    marked: tuple[str, ...] = ()
    """Names of running pods that an earlier shrink has marked as the first to go."""
    ended: tuple[str, ...] = ()
    """Instances of worker processes that were seen to be dead."""
    unseen: bool = False
    """The workers cannot be seen: none of these numbers is known, zeros least of all."""

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

    def seen_in(self, observation: Observation) -> Observation:
        """The observation with these workers in place of those that it was made with."""
        return replace(
            observation,
            pods=self.pods,
            replicas=self.replicas,
            ready_replicas=self.ready_replicas,
            canaries=self.split.canary,
        )


@dataclass(frozen=True, slots=True)
class ApplyOutcome:
    """How the last apply of the child objects ended. `reason` is CamelCase and shown in conditions."""

    ok: bool
    reason: str
    message: str
    again_after_seconds: float = float("inf")
    """When to try again although nothing has changed."""


FIELDS_DROPPED = "FieldsDropped"
"""Reason of an apply whose template lost fields on the API server."""
SOURCE_UNSUPPORTED = "SourceUnsupported"
"""Reason of an apply that was not tried: the API server has no volumes of type image."""
BUDGET_REFUSED = "DisruptionBudgetRefused"
TWO_BUDGETS = "SecondDisruptionBudget"
REMARKS = (BUDGET_REFUSED, TWO_BUDGETS)
"""Reasons of an apply that the workers do well with, and that somebody should look at."""
FINALIZER_REFUSED = "FinalizerRefused"
"""Reason while a deletion cannot be made to wait for us, or to go on."""
NOT_IN_FORCE = (FIELDS_DROPPED, FINALIZER_REFUSED)
"""All was applied, and yet it is not as the spec says."""
HINDRANCES = ("ScaleRefused", "ScaleConflict", "RetireRefused", "ScaleFailed")


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a decision was not carried out: one of `HINDRANCES`, and the words of whoever refused.

    Nothing is tried before `until`, of the engine's clock.
    """

    reason: str
    message: str
    until: float


@dataclass(frozen=True, slots=True)
class ChildrenSeen:
    """The children of one RedisQueue, as its spec wants them and as they are, and what bears on writing them.

    Objects are what the API server has, whoever's they are, and are never changed.
    """

    operator_version: str
    """This operator's own."""
    operator: str = ""
    """Its name beside others, as on children; empty where there are no others."""
    problem: ApplyOutcome | None = None
    """Why it is not known what is wanted, or what there is: nothing can be decided then."""
    manifests: tuple[dict[str, Any], ...] = ()
    """What the spec wants, the Deployment last."""
    digest: str = ""
    """Of these manifests."""
    inputs: tuple[object, ...] = ()
    """What they were made from: what people asked for."""
    workers: dict[str, Any] | None = None
    """The Deployment of the workers."""
    trial: dict[str, Any] | None = None
    """The Deployment of canaries."""
    live: str = ""
    """Changes when somebody changes or removes either of the two; scaling and status do not count."""
    rolled: bool = False
    """All workers have their Deployment's template, and are available."""
    copy: dict[str, Any] | None = None
    """The template of all workers, as it was kept beside them; None without one."""
    keeps_copy: bool = False
    """Whether one is kept at all."""
    others_as_wanted: bool = True
    """The other children are as they shall be; False while that is not known."""
    others_missed_at: float | None = None
    """When a list began that shows that they are not (the engine's clock); None when none does."""
    unwanted_budget: dict[str, Any] | None = None
    """A disruption budget of ours that the spec wants no more."""
    remark: str = ""
    """What is to be told of other people's budgets for the same pods."""
    rolling: int | None = 0
    """Deployments that roll over to what this operator's version wrote; None while that is not known."""
    starting: int = 0
    """Rollouts that are being written and may not show among these yet."""

    def lacks(self, applied_at: float) -> bool:
        """Whether a list has shown since then that other children are missing or wrong."""
        return self.others_missed_at is not None and applied_at < self.others_missed_at
