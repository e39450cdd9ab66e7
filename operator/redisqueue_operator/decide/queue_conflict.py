"""Two RedisQueues on one Redis queue: the older one works, the newer one touches nothing. Pure.

They find each other by what the workers write into the queue itself, whatever the URLs say. Those that share
it work side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from redisqueue_operator.observe.facts import FRESH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from redis_message_queue.stats import QueueSample
    from redisqueue_operator.api.model import RedisQueue


@dataclass(frozen=True, order=True, slots=True)
class Claimant:
    """A RedisQueue that wants a queue; the smaller one is the older one."""

    created: str
    """RFC 3339, as the API server writes it."""
    uid: str
    name: str
    place: str
    """Which queue on which Redis, in its own words."""
    shares: bool = False
    """It works beside others that share the queue, too."""


def claimant_of(rq: RedisQueue) -> Claimant:
    """What the resource says of its right to the queue."""
    created = str(rq.raw["metadata"].get("creationTimestamp", ""))
    place, shares = repr((rq.spec.redis, rq.spec.queue.name)), rq.spec.queue.sharing == "Shared"
    return Claimant(created, rq.uid, str(rq.key), place, shares)


def owners_of(sample: QueueSample, uid: str, own_pods: Collection[str]) -> frozenset[str]:
    """The uids of the RedisQueues whose workers consume from the queue and mean to go on.

    A draining worker leaves. A worker of another one in one of `own_pods` (pod uids) was left behind by a
    RedisQueue of the same name: the RedisQueue `uid` takes it over.
    """
    return frozenset(
        worker.owner_uid
        for worker in sample.workers
        if worker.owner_uid
        and not worker.draining
        and sample.time_ms - worker.updated_ms < FRESH_SECONDS * 1000
        and (worker.owner_uid == uid or worker.pod_uid not in own_pods)
    )


def prior_of(
    me: Claimant, owners: Collection[str], known: Mapping[str, Claimant], last: Claimant | None
) -> Claimant | None:
    """Who has the older right to the queue; None when it is `me`.

    Args:
        owners: the uids of `owners_of`.
        known: the RedisQueues that this operator sees, by uid. The age of others cannot be told: of those
            whoever is at work stays, and when both are, the smaller uid. Who shares, takes them to share too.
        last: the last answer. It keeps its right as long as it wants the same place, with no worker too.
    """
    asleep = {last.uid} if last is not None and known.get(last.uid) == last else set()
    for uid in sorted({*owners, *asleep} - {me.uid}):
        other = known.get(uid)
        if me.shares and (other is None or other.shares):
            continue
        if other is None and (me.uid not in owners or uid < me.uid):
            return Claimant("", uid, f"uid {uid}, which this operator does not see", "")
        if other is not None and other < me:
            return other
    return None


def conflict_message(claimant: Claimant) -> str:
    """For people: who is in the way, and the way out."""
    return (
        f"RedisQueue {claimant.name} already consumes from this queue: delete one of the two, "
        "give one another spec.queue.name, or both spec.queue.sharing: Shared"
    )
