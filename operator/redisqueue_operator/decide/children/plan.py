"""The children as they are and as the spec wants them → what is written of them, or why nothing is. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import annotation_of
from redisqueue_operator.decide.canary import Stage, Versions, stage_of
from redisqueue_operator.decide.canary.rollout import NUMBER_IS_FIXED
from redisqueue_operator.decide.canary.trial import may_start
from redisqueue_operator.decide.children.deployment import (
    as_before_protection,
    canary_of,
    config_hash,
    hash_of,
)
from redisqueue_operator.decide.children.drift import is_as_wanted
from redisqueue_operator.decide.children.identity import (
    OPERATOR,
    OPERATOR_VERSION,
    belongs_to,
    same_applied,
)
from redisqueue_operator.decide.upgrade_budget import MOST_AT_ONCE, is_upgrade, must_wait
from redisqueue_operator.decide.version_skew import FOREIGN, NEWER
from redisqueue_operator.observe.facts import BUDGET_REFUSED, TWO_BUDGETS, ApplyOutcome

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.canary import Rollout
    from redisqueue_operator.observe.facts import ChildrenSeen

Object = dict[str, Any]

RETRY_REFUSED_SECONDS = 30.0
TURN_SECONDS = 10.0
APPLIED = ApplyOutcome(ok=True, reason="Applied", message="")
WAITS_FOR_TURN = ApplyOutcome(
    ok=True,
    reason="RolloutQueued",
    message="A newer operator makes another template: it is rolled out when fewer than "
    f"{MOST_AT_ONCE} Deployments roll.",
    again_after_seconds=TURN_SECONDS,
)
_PARTLY = {
    Stage.CANARY: "Some workers are as the spec says: its template is on trial.",
    Stage.STAY: "The workers keep the template before: that of the spec was rolled back.",
    Stage.WAIT: f"The workers keep the template before: {NUMBER_IS_FIXED}.",
}


@dataclass(frozen=True, slots=True)
class Children:
    """What is written, in this order: the others, the workers, the copy of their template, the canaries."""

    wanted: str
    """Changes with what is wanted."""
    workers: Object
    """The Deployment of all workers that are no canaries."""
    others: tuple[Object, ...] = ()
    """What the workers need, and their disruption budget."""
    unwanted_budget: Object | None = None
    """A budget of ours that the spec wants no more: it is deleted."""
    copied: bool = False
    """The workers' template is kept beside them."""
    canaries: Object | None = None
    """The Deployment of the canaries."""
    ended: Object | None = None
    """The Deployment of a trial that is over: it is deleted."""
    upgrade: bool = False
    """It takes one of the turns of an operator's upgrade."""
    message: str = ""
    """What is told when all was written."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What was last found or made as wanted, or refused: from what, how it ended, and when."""

    wanted: str
    live: str
    outcome: ApplyOutcome
    at: float

    def still_holds(self, wanted: str, live: str, now: float) -> bool:
        """Whether another apply would change nothing; what was refused is tried again after a while."""
        same = (self.wanted, self.live) == (wanted, live)
        whole = self.outcome.ok and self.outcome.reason != BUDGET_REFUSED
        return same and (whole or now - self.at < RETRY_REFUSED_SECONDS)


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of the children between two looks."""

    applied: Applied | None = None
    upgrade_inputs: tuple[object, ...] | None = None
    """What people had asked for when an operator's upgrade began to wait for its turn."""
    gone: str = ""
    """The operator, beside this one, that wrote the workers and is not at work any more."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is to be said of the children, what is to be written of them (None: nothing), and remembered."""

    outcome: ApplyOutcome
    known: Known
    stage: Stage = Stage.ROLL
    versions: Versions | None = None
    writes: Children | None = None


def judge(rq: RedisQueue, seen: ChildrenSeen, rollout: Rollout | None, known: Known, now: float) -> Judged:
    """How the children are, and what is to be done; `now` is the engine's clock."""
    if seen.problem is not None:
        return Judged(seen.problem, known)
    seen = _rolling_nothing(rq, seen)
    *others, deployment = seen.manifests
    versions = _versions(rq, seen)
    versioned = rq.spec.rollout.strategy == "Versioned"
    stage = stage_of(versions, rollout, versioned=versioned, may_start=may_start(rq.spec))
    of_all = workers_of(rq, seen, stage)
    copied = not seen.keeps_copy or _text(seen.copy) == _text(of_all["spec"]["template"])
    wanted = f"{stage} {seen.digest}"
    last = known.applied
    if last is not None and copied and last.still_holds(wanted, seen.live, now) and not seen.lacks(last.at):
        return Judged(_remarked(last.outcome, seen.remark), known, stage, versions)
    if last is None and copied and _as_wanted(rq, seen, of_all, stage):
        known = replace(known, applied=Applied(wanted, seen.live, APPLIED, now))
        return Judged(_remarked(APPLIED, seen.remark), known, stage, versions)
    if (refused := _refusal(rq, seen, stage, known.gone)) is not None:
        return Judged(refused, known, stage, versions)
    known, waits, upgrade = _turn(seen, stage, known)
    if waits:
        return Judged(WAITS_FOR_TURN, known, stage, versions)
    trial = own(rq, seen.trial)
    ends = stage in (Stage.ROLL, Stage.STAY, Stage.WAIT)
    writes = Children(
        wanted=wanted,
        workers=of_all,
        others=tuple(others),
        unwanted_budget=seen.unwanted_budget,
        copied=not copied,
        canaries=canary_of(deployment, rq.key.name) if stage is Stage.CANARY else None,
        ended=trial if ends else None,
        upgrade=upgrade,
        message=_PARTLY.get(stage, ""),
    )
    return Judged(last.outcome if last else APPLIED, known, stage, versions, writes)


def _rolling_nothing(rq: RedisQueue, seen: ChildrenSeen) -> ChildrenSeen:
    """With the template that runs, where only what `protect` has taken over differs from an older one's.

    No worker is replaced for that alone: the template follows when it changes for another reason.
    """
    *others, deployment = seen.manifests
    live = config_hash(own(rq, seen.workers))
    if not live or live == config_hash(deployment) or rq.spec.worker.protect != "WhileBusy":
        return seen
    before = as_before_protection(deployment)
    return replace(seen, manifests=(*others, before)) if live == config_hash(before) else seen


def own(rq: RedisQueue, found: Object | None) -> Object | None:
    """What was found, if it is this RedisQueue's."""
    return found if found is not None and belongs_to(found, rq) else None


def workers_of(rq: RedisQueue, seen: ChildrenSeen, stage: Stage) -> Object:
    """The manifest of the workers that are no canaries."""
    deployment = seen.manifests[-1]
    if stage in (Stage.ROLL, Stage.PROMOTE):
        return deployment
    return keeping(deployment, own(rq, seen.workers), seen.copy)


def keeping(deployment: Object, live: Object | None, kept: Object | None) -> Object:
    """The manifest of the workers that keep their template: all else of it is as the spec says now.

    Args:
        deployment: the manifest with the template of the spec.
        live: the Deployment that there is.
        kept: the copy of its template; without one that fits, what runs counts.
    """
    template, annotations = kept, dict(deployment["metadata"]["annotations"])
    if live is not None:
        if kept is None or hash_of(kept) != config_hash(live):
            template = live["spec"]["template"]
        # The operator that rolls it over one day is told apart from the one that made the template.
        written_by = annotation_of(live, OPERATOR_VERSION)
        annotations |= {OPERATOR_VERSION: written_by} if written_by else {}
    assert template is not None  # noqa: S101  (a stage that keeps a template has one)
    metadata = {**deployment["metadata"], "annotations": annotations}
    return {**deployment, "metadata": metadata, "spec": {**deployment["spec"], "template": template}}


def refusal(
    rq: RedisQueue, found: Object, manifest: Object, seen: ChildrenSeen, gone: str = ""
) -> ApplyOutcome | None:
    """Why the Deployment `found` is not ours to make what the manifest says: somebody's, or an operator's."""
    if not belongs_to(found, rq):
        return name_conflict(found)
    name = _name(found)
    theirs, ours = annotation_of(found, OPERATOR_VERSION), seen.operator_version
    if _release(theirs) > _release(ours):
        namespace, _, plain = name.partition("/")
        text = (
            f"Deployment {name} was written by operator {theirs}, this one is {ours}: it scales "
            "the workers and changes nothing else. Upgrade it, or have it write its own template: "
            f"kubectl annotate deployment -n {namespace} {plain} {OPERATOR_VERSION}-"
        )
        return ApplyOutcome(ok=False, reason=NEWER, message=text)
    author = annotation_of(found, OPERATOR)
    if not seen.operator or author in ("", seen.operator, gone):
        return None
    if same_applied(found, manifest) or _release(theirs) < _release(ours):
        return None
    text = (
        f"Deployment {name} was written by the operator with the Lease {author}, this one has "
        f"{seen.operator}: have one of the two watch other namespaces or labels"
    )
    return ApplyOutcome(ok=False, reason=FOREIGN, message=text)


def budget_refused(trouble: str) -> ApplyOutcome:
    """All was written but the disruption budget, without which the workers run all the same."""
    return ApplyOutcome(True, BUDGET_REFUSED, trouble, RETRY_REFUSED_SECONDS)


def name_conflict(found: Object) -> ApplyOutcome:
    """The Deployment that has the name is somebody else's."""
    text = f"Deployment {_name(found)} exists and belongs to somebody else: rename or delete one of the two"
    return ApplyOutcome(ok=False, reason="NameConflict", message=text)


def _name(found: Object) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def _refusal(rq: RedisQueue, seen: ChildrenSeen, stage: Stage, gone: str) -> ApplyOutcome | None:
    """The same of all that the stage writes, as far as it is seen."""
    deployment = seen.manifests[-1]
    refused = refusal(rq, seen.workers, deployment, seen, gone) if seen.workers is not None else None
    if refused is None and stage is Stage.CANARY and seen.trial is not None:
        return refusal(rq, seen.trial, canary_of(deployment, rq.key.name), seen)
    return refused


def _versions(rq: RedisQueue, seen: ChildrenSeen) -> Versions:
    """Which templates there are. Workers whose Deployment was deleted still have the one of the copy."""
    live, trial = own(rq, seen.workers), own(rq, seen.trial)
    return Versions(
        wanted=config_hash(seen.manifests[-1]),
        stable=config_hash(live) or hash_of(seen.copy),
        canary=config_hash(trial),
        rolled=live is not None and seen.rolled,
    )


def _as_wanted(rq: RedisQueue, seen: ChildrenSeen, of_all: Object, stage: Stage) -> bool:
    """Whether all is as wanted: a new leader has nothing to write then."""
    live, trial = own(rq, seen.workers), own(rq, seen.trial)
    if stage is Stage.CANARY:
        tried = is_as_wanted(trial, canary_of(seen.manifests[-1], rq.key.name), "metadata", "spec")
    else:
        tried = trial is None and stage is not Stage.PROMOTE
    return tried and seen.others_as_wanted and is_as_wanted(live, of_all, "metadata", "spec")


def _turn(seen: ChildrenSeen, stage: Stage, known: Known) -> tuple[Known, bool, bool]:
    """Whether a rollout has to wait, and whether it takes a turn: for nothing but another operator.

    What people change meanwhile does not wait.
    """
    if stage not in (Stage.ROLL, Stage.PROMOTE):
        return known, False, False
    if seen.workers is None or not is_upgrade(seen.workers, seen.manifests[-1]):
        return replace(known, upgrade_inputs=None), False, False
    known = known if known.upgrade_inputs is not None else replace(known, upgrade_inputs=seen.inputs)
    if known.upgrade_inputs != seen.inputs:
        return known, False, False
    waits = must_wait(seen.rolling, seen.starting)
    return known, waits, not waits


def _remarked(outcome: ApplyOutcome, remark: str) -> ApplyOutcome:
    """The outcome, and what is not right although all was applied."""
    if not remark or not outcome.ok or outcome.reason != APPLIED.reason:
        return outcome
    return replace(outcome, reason=TWO_BUDGETS, message=f"{outcome.message} {remark}".strip())


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:3])


def _text(template: Object | None) -> str:
    return json.dumps(template, sort_keys=True)
