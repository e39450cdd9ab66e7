"""What a queue wants of its budget and has of it, from what was seen and decided. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.decide.budget.sharing import Claim
from redisqueue_operator.decide.scaling import Policy
from redisqueue_operator.decide.scaling.live_pods import LivePods, State
from redisqueue_operator.decide.scaling.policy import ADVISORY

if TYPE_CHECKING:
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.budget.allocation import Amount
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Observation


def claim_of(
    rq: RedisQueue, observation: Observation, decision: Decision, cost: Amount | None, at: float | None = None
) -> Claim:
    """What the queue wants and has, after a look at it; `at` as in `Policy.of`.

    Unknown is never zero: without Redis, and where somebody else chooses, it keeps what it has.
    """
    policy = Policy.of(rq.spec, at)
    current = observation.replicas or 0
    chosen = policy.manual_replicas is not None or policy.mode in ADVISORY
    stays = chosen or policy.mode == "UpOnly" or observation.queue is None
    wanted = decision.to_replicas if chosen else decision.unbudgeted_replicas
    if policy.mode == "DownOnly":
        wanted = min(wanted, current)
    return Claim(
        queue=rq.key.name,
        wanted=wanted,
        current=current,
        busy=LivePods.of(observation, policy).count(State.BUSY, State.UNKNOWN, State.HUNG),
        minimum=min(policy.min_replicas, policy.max_replicas),
        priority=rq.spec.scaling.priority,
        held=current if stays else 0,
        cost=cost,
    )


def claim_of_unseen(rq: RedisQueue, cost: Amount | None, has: int | None = None) -> Claim:
    """Of one about which nothing was decided; where its workers were not seen it has what its status says."""
    if has is None:
        status = rq.raw.get("status") or {}
        has = int((status.get("workers") or {}).get("desired") or 0)
    return Claim(rq.key.name, has, has, priority=rq.spec.scaling.priority, held=has, cost=cost)
