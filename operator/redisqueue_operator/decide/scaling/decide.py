"""Observation, policy and history in; one number with its reasons out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.decision import Decision
from redisqueue_operator.decide.scaling.history import SHRINK_PAUSE_SECONDS, push_highest, push_lowest
from redisqueue_operator.decide.scaling.live_pods import LivePods
from redisqueue_operator.decide.scaling.need import Need, need_of, rest_of
from redisqueue_operator.decide.scaling.policy import ADVISORY
from redisqueue_operator.decide.scaling.rates import BUSY_SHARE

if TYPE_CHECKING:
    from redisqueue_operator.decide.scaling.decision import Ceiling
    from redisqueue_operator.decide.scaling.history import History
    from redisqueue_operator.decide.scaling.policy import Policy
    from redisqueue_operator.observe.facts import Observation, PodObservation


def decide(
    observation: Observation, policy: Policy, history: History, now: float
) -> tuple[Decision, History]:
    """How many workers there shall be, and the history to pass in next time.

    `now` is in seconds of any clock that does not go back, the same one as in `history`.
    """
    if observation.replicas is None:
        return Decision(0, 0, "Unreadable" if observation.unseen else "DeploymentMissing"), history
    current = observation.replicas
    fleet = LivePods.of(observation, policy)
    need = need_of(observation, policy, fleet, history)
    known, history = _remember(need, observation, policy, history, now)
    path = _Path(observation, policy, fleet, history, now, current, current)
    if policy.manual_replicas is not None:
        path.policy = replace(policy, mode="External")  # the rules only advise
    if need is None:
        _without_redis(path)
    else:
        _by_need(path, need)
    if policy.manual_replicas is not None:
        path.policy, path.to, path.reason = policy, policy.manual_replicas, "ManualReplicas"
        path.clamps, path.blocked_by, path.ceiling = [], "", None
    return _decision(path, known), history


def _remember(
    need: Need | None, observation: Observation, policy: Policy, history: History, now: float
) -> tuple[Need, History]:
    """Push the need into both windows. What nobody could read counts as a need for what there is.

    Decisions come when something changed, so the need before was in force until now: it is pushed once more.
    """
    current = observation.replicas or 0
    known = Need(current, history=history.rates) if need is None else need
    highest, lowest = history.highest, history.lowest
    for value in (current if history.need is None else history.need, known.value):
        highest = push_highest(highest, now, value, policy.down_stabilization_seconds)
        lowest = push_lowest(lowest, now, value, policy.up_stabilization_seconds)
    # Before the first answer Redis is not known to be away: a restart alone brings no fallback.
    away = need is None and bool(observation.redis_reason)
    since = now if history.unreadable_since is None else history.unreadable_since
    return known, replace(
        history.saw(now, current),
        active_at=history.active_at if known.empty and not history.active else now,
        active=not known.empty,
        need=known.value,
        unreadable_since=since if away else None,
        highest=highest,
        lowest=lowest,
        rates=known.history,
    )


UNSCHEDULABLE_SECONDS = 5.0
"""A pod that has not found a node for that long counts as one that finds none."""


@dataclass(slots=True)
class _Path:
    """The way from the need to the number: each gate may move `to`, and says so."""

    observation: Observation
    policy: Policy
    fleet: LivePods
    history: History
    now: float
    current: int
    to: int
    reason: str = ""
    blocked_by: str = ""
    wanted: int | None = None
    unbudgeted: int | None = None
    ceiling: Ceiling | None = None
    clamps: list[str] = field(default_factory=list)
    recheck: list[float] = field(default_factory=list)

    @property
    def pods(self) -> int:
        """Live pods, those that the cluster is about to create or that were not seen yet included."""
        return max(self.current, len(self.fleet.members))

    @property
    def unseen(self) -> int:
        return self.pods - len(self.fleet.members)

    def at_least(self, floor: int, why: str, recheck: float = math.inf) -> None:
        """Shrink no further than to `floor`, and never turn a shrink into growth."""
        self._hold(max(self.to, min(floor, self.current)), why, recheck)

    def at_most(self, ceiling: int, why: str, recheck: float = math.inf) -> None:
        """Grow no further than to `ceiling`, and never turn growth into a shrink."""
        self._hold(min(self.to, max(ceiling, self.current)), why, recheck)

    def _hold(self, to: int, why: str, recheck: float) -> None:
        if to == self.to:
            return
        self.to, self.blocked_by = to, why
        self.recheck.append(recheck)


def _clamped(value: int, policy: Policy) -> int:
    return min(max(value, policy.min_replicas), policy.max_replicas)


def _by_need(path: _Path, need: Need) -> None:
    policy = path.policy
    path.to = path.wanted = _clamped(need.value, policy)
    path.reason = need.reason
    if path.to > need.value:
        path.clamps.append("MinReplicas")
        path.reason = "MinReplicas"
    elif path.to < need.value:
        path.clamps.append("MaxReplicas")
    path.recheck.append(need.changes_in_seconds)
    if path.to > path.current:
        _grow(path, need)
    elif path.to < path.current:
        _shrink(path, need)
    _obey_budget(path, need)
    _obey_mode(path)


def _grow(path: _Path, need: Need) -> None:
    policy, history = path.policy, path.history
    # Waking up is never delayed: a window that starts at zero would let the first message wait for nothing.
    steady = max(history.lowest[0][1], need.activation)
    path.at_most(
        _clamped(steady, policy),
        "StabilizationWindow",
        history.lowest[0][0] + policy.up_stabilization_seconds - path.now,
    )
    _hold_without_room(path)
    _step_up(path)


def _hold_without_room(path: _Path) -> None:
    """More would not come either: the cluster has no room, or refuses to create those that are missing."""
    if path.policy.hold_unschedulable and any(map(_finds_no_node, path.observation.pods)):
        path.at_most(path.current, "UnschedulablePods")
    if path.observation.replica_failure and len(path.fleet.members) < path.current:
        path.at_most(path.current, "ReplicaFailure")


def _finds_no_node(pod: PodObservation) -> bool:
    """A new pod may find one yet; one of another template says nothing of more pods of the present one."""
    old = pod.age_seconds >= UNSCHEDULABLE_SECONDS
    return pod.unschedulable and old and not (pod.terminating or pod.outdated or pod.canary)


def _step_up(path: _Path) -> None:
    base = path.history.step_base(growing=True)
    ends_in = path.history.step_ends_in(path.now)
    if path.policy.up_max_step is not None:
        _cut(path, base + path.policy.up_max_step, "MaxStep", ends_in)
    if path.policy.up_max_percent is not None and base > 0:
        _cut(path, base + max(1, base * path.policy.up_max_percent // 100), "MaxPercent", ends_in)


def _cut(path: _Path, ceiling: int, why: str, recheck: float) -> None:
    before = path.to
    path.at_most(ceiling, why, recheck)
    if path.to != before:
        path.clamps.append(why)


def _shrink(path: _Path, need: Need) -> None:
    policy, history = path.policy, path.history
    asleep_in = history.active_at + policy.idle_seconds - path.now if need.empty else math.inf
    if asleep_in > 0:
        _hold_while_awake(path, need, asleep_in)
    _spare_the_busy(path, need)


def _spare_the_busy(path: _Path, need: Need) -> None:
    """Take none that works, or may work, and none before those that went last are known to be gone."""
    policy, history, fleet = path.policy, path.history, path.fleet
    pause = SHRINK_PAUSE_SECONDS - history.shrank_for_seconds(path.now)
    if pause > 0:
        path.at_least(path.current, "RecentShrink", pause)
    if path.observation.active_replica_sets > 1 and (path.to > 0 or need.in_flight):
        # The Deployment would share the shrink out between its ReplicaSets, busy pods included.
        path.at_least(path.current, "RolloutInProgress")
    canaries = sum(member.canary for member in fleet.members)
    if (canaries < path.observation.canaries and path.to > 0) or fleet.unready_but_needed(
        policy, need.in_flight, all_go=path.to == 0
    ):
        path.at_least(path.current, "UnreadyWorkers")
    if policy.down_max_percent is not None:
        base = history.step_base(growing=False)
        floor = base - max(1, base * policy.down_max_percent // 100)
        if floor > path.to:
            path.clamps.append("MaxPercent")
        path.at_least(floor, "MaxPercent", history.step_ends_in(path.now))
    # Pods that were not seen yet may be busy, but not without a lease.
    unseen = 0 if need.in_flight and not policy.drain_busy else path.unseen
    young = fleet.young_for_seconds(policy, need.in_flight)
    why = "MinRunSeconds" if young < math.inf else "BusyWorkers"
    for _ in range(2):  # the first turn may find that not all can go, and then the canaries stay
        removable = len(fleet.removable(policy, need.in_flight, all_go=path.to == 0))
        path.at_least(path.pods - removable - unseen, why, min(young, fleet.hung_in_seconds))


def _obey_budget(path: _Path, need: Need | None) -> None:
    """Others need the workers more: idle ones go without waiting for any window, busy ones stay.

    Without a need nobody goes, for who works is not known. Where somebody else chooses the number no share is
    asked for: what is had counts, and says nothing of what would be left.
    """
    path.unbudgeted = path.to
    if (ceiling := path.policy.ceiling) is None or path.policy.mode in ADVISORY:
        return
    most = path.current if ceiling.most is None else ceiling.most
    most = most if need is not None else max(most, path.current)
    if path.to <= most:
        return
    path.to, path.reason, path.blocked_by = most, "Budget", ""
    path.ceiling = ceiling
    path.clamps.append("Budget")
    if path.to == path.current:
        path.blocked_by = "Budget"
    elif need is not None and path.to < path.current:
        path.policy = replace(path.policy, drain_busy=False)
        _spare_the_busy(path, need)


def _hold_while_awake(path: _Path, need: Need, asleep_in: float) -> None:
    """A queue that had work a moment ago keeps a worker, and those that its recent work needs."""
    policy, history = path.policy, path.history
    path.at_least(min(1, policy.max_replicas), "IdleSeconds", asleep_in)
    since, highest = history.highest[0]
    until = since + policy.down_stabilization_seconds - path.now
    path.at_least(_clamped(highest, policy), "StabilizationWindow", min(until, asleep_in))
    recent = _clamped(_recent_load(path, need), policy)
    path.at_least(recent, "RecentLoad", min(SHRINK_PAUSE_SECONDS, asleep_in))


def _recent_load(path: _Path, need: Need) -> int:
    """Workers for what was to do within the window: those it kept busy, and a spare one for every four.

    A spare one that the queue's limits leave nothing to do helps nobody.

    Who is busy at one moment is chance: a fleet that shrinks to that soon has too few, and grows again. With
    fewer claims than workers, handlers outlast the window, and who is busy now says more than a mean.
    """
    slots, claims = path.history.rates.busy(path.policy.down_stabilization_seconds)
    if claims < path.current:
        return 0
    workers = slots / path.policy.concurrency
    wanted = max(math.ceil(workers), int(workers / BUSY_SHARE))
    wanted = wanted if need.ceiling is None else min(wanted, need.ceiling)
    return rest_of(wanted, path.observation, path.policy)


def _without_redis(path: _Path) -> None:
    """Unknown is never zero: keep what there is, and after a while no less than the fallback."""
    policy, since = path.policy, path.history.unreadable_since
    path.reason = "RedisUnreadable"
    path.to = max(path.current, min(policy.min_replicas, policy.max_replicas))
    if path.to > path.current:
        path.reason = "MinReplicas"
    if policy.fallback_replicas is not None and since is not None:
        remaining = since + policy.fallback_after_seconds - path.now
        floor = min(policy.fallback_replicas, policy.max_replicas)
        if remaining > 0:
            path.recheck.append(remaining)
        elif floor >= path.to:
            path.to, path.reason = floor, "Fallback"
    path.wanted = path.to
    path.blocked_by = "RedisUnreadable" if path.to == path.current else ""
    _hold_without_room(path)
    _step_up(path)
    _obey_budget(path, None)
    _obey_mode(path)


def _obey_mode(path: _Path) -> None:
    match path.policy.mode:
        case "Auto":
            return
        case "UpOnly":
            path.at_least(path.current, "UpOnly")
        case "DownOnly":
            path.at_most(path.current, "DownOnly")
        case mode if mode in ADVISORY:
            path.wanted = path.to
            path.blocked_by = mode if path.to != path.current else ""
            path.to, path.reason = path.current, mode


def _decision(path: _Path, need: Need) -> Decision:
    manual = path.policy.manual_replicas is not None
    gone = path.pods - path.to if path.to < path.current else 0
    removable = path.fleet.removable(path.policy, need.in_flight, all_go=path.to == 0)
    # A person's number takes anybody: first a canary that does no work yet.
    anybody = sorted(path.fleet.members, key=lambda member: member.ready or not member.canary)
    candidates = anybody if manual else removable
    return Decision(
        from_replicas=path.current,
        to_replicas=path.to,
        reason=path.reason,
        terms=need.terms,
        clamps=tuple(path.clamps),
        blocked_by=path.blocked_by,
        victims=tuple(member.name for member in candidates[:gone]),
        recheck_after_seconds=max(0.0, min([*path.recheck, path.policy.bounds_change_in_seconds])),
        wanted_replicas=path.to if path.wanted is None else path.wanted,
        drain_busy=manual or path.policy.drain_busy,
        rates=need.history.rates(),
        schedule=path.policy.bounds.text if path.policy.bounds is not None else "",
        unbudgeted_replicas=path.to if path.unbudgeted is None else path.unbudgeted,
        ceiling=path.ceiling,
    )
