"""Which budget a RedisQueue belongs to, what each wants, and what each may have: kept for the control loop.

A claim that changed makes its budget dirty, and each dirty budget is shared out anew once per turn: however
many of its queues changed, the work of a turn grows with the queues and not with their square.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from redisqueue_operator.decide.budget import (
    Claim,
    Selecting,
    claim_of,
    claim_of_unseen,
    cost_of,
    owner_of,
    shares,
    why,
)
from redisqueue_operator.decide.children.drift import selects
from redisqueue_operator.decide.scaling import Ceiling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.budget.resource import Budget
    from redisqueue_operator.decide.budget import Allotment, Amount
    from redisqueue_operator.decide.scaling import Decision
    from redisqueue_operator.observe.facts import Observation

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
PART = 0.1
"""The most of the processor's time that sharing out may take."""
UNSEEN_SECONDS = 5.0
"""So long a number that was asked for counts although what is read does not show it yet."""
EXPECTED_SECONDS = 5.0
"""So long a budget waits for what queues have that were not looked at yet, before it gives that away."""
UNREAD = Ceiling("", None, "the RedisQueueBudgets are not read yet: no more workers until they are")


@dataclass(slots=True)
class _Queue:
    """One RedisQueue that was looked at."""

    rq: RedisQueue
    budget: Key | None = None
    others: tuple[str, ...] = ()
    """Budgets that select it too and do not count."""
    claim: Claim | None = None
    cost: Amount | None = None
    asked: tuple[int, float] = (0, float("-inf"))


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a budget was shared out last."""

    budget: Budget
    claims: tuple[Claim, ...] = ()
    shares: dict[str, Allotment] = field(default_factory=dict)
    lost: tuple[tuple[str, str], ...] = ()
    """Queues that it selects and that belong to an older budget, with the name of that."""
    won: tuple[tuple[str, str], ...] = ()
    """Queues of its own that a younger budget selects too, with the name of that."""


class Budgets:
    """All budgets with their queues.

    Args:
        clock: seconds, monotonic.
        unread: the namespaces whose budgets are to be listed first (None: all); until `listed` tells of them
            no queue there grows.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, unread: tuple[str | None, ...] = ()
    ) -> None:
        self.notify: Callable[[Key], None] = lambda _: None
        """Called with each RedisQueue whose share changed: the engine's `notify`."""
        self.sharings: dict[Key, Sharing] = {}
        self._clock = clock
        self._unread = set(unread)
        self._queues: dict[Key, _Queue] = {}
        self._dirty: set[Key] = set()
        self._expected: dict[Key, float] = {}
        self._woken = asyncio.Event()

    # -- the budgets --

    def listed(self, namespace: str | None) -> None:
        """All budgets of that namespace are known now, or cannot be read: nobody waits for them."""
        if namespace in self._unread:
            self._unread.discard(namespace)
            self._tell(key for key in self._queues if namespace in (None, key.namespace))

    def put(self, budget: Budget) -> None:
        """It is there, or has changed."""
        self.sharings[budget.key] = Sharing(budget)
        self._select(budget.key.namespace)
        self._mark_dirty(budget.key)

    def drop(self, key: Key) -> None:
        """It is gone: its queues are free at once."""
        if self.sharings.pop(key, None) is not None:
            self._dirty.discard(key)
            self._select(key.namespace)

    def _select(self, namespace: str) -> None:
        """Find the budget of each queue there anew."""
        changed = []
        for key, queue in self._queues.items():
            if key.namespace == namespace and self._find(key, queue):
                changed.append(key)
        for key, sharing in self.sharings.items():
            if key.namespace == namespace:
                self._mark_dirty(sharing.budget.key)
        self._tell(changed)

    def _find(self, key: Key, queue: _Queue) -> bool:
        """Find the budget of this queue; whether it is another one, or other numbers."""
        labels = queue.rq.raw["metadata"].get("labels") or {}
        found = {
            each.budget.key: each.budget
            for each in self.sharings.values()
            if each.budget.key.namespace == key.namespace and selects(each.budget.selector, labels)
        }
        owner = owner_of([Selecting(each.key.name, each.created_at) for each in found.values()])
        before, others = (queue.budget, queue.cost), queue.others
        queue.budget = replace(key, name=owner.name) if owner is not None else None
        queue.others = tuple(sorted(each.name for each in found if each != queue.budget))
        queue.cost = cost_of(queue.rq, found[queue.budget].limit) if queue.budget is not None else None
        if queue.claim is not None:
            queue.claim = replace(queue.claim, cost=queue.cost)
        if others != queue.others:  # these say whose it is, and the one that counts, that they do not
            self._mark_all_dirty(key, {*others, *queue.others})
            self._mark_dirty(queue.budget)
        if before == (queue.budget, queue.cost):
            return False
        if queue.budget is not None and queue.claim is None:
            self.expect([key])
        for each in (before[0], queue.budget):
            self._mark_dirty(each)
        return True

    # -- the queues --

    def expect(self, keys: Iterable[Key]) -> None:
        """These are going to be looked at: what they have is not free."""
        until = self._clock() + EXPECTED_SECONDS
        self._expected.update({key: until for key in keys if key not in self._expected})

    def looked(self, key: Key) -> None:
        """A look at it has ended, whatever it has found."""
        self._expected.pop(key, None)

    def ceiling(self, rq: RedisQueue) -> Ceiling | None:
        """What its budget leaves this queue now; None where it has none."""
        queue = self._known(rq)
        if {None, rq.key.namespace} & self._unread:
            return UNREAD
        if queue.budget is None:
            return None
        name = queue.budget.name
        share = self.sharings[queue.budget].shares.get(rq.key.name)
        return Ceiling(name, share.ceiling if share is not None else None, why(share, name), share)

    def claim(
        self,
        rq: RedisQueue,
        observation: Observation,
        decision: Decision,
        *,
        grows: bool = False,
        at: float | None = None,
    ) -> None:
        """What a look at it has found, before anything is done about it; `grows`: it asks for more now."""
        queue, now = self._known(rq), self._clock()
        if queue.budget is None:
            queue.claim = None
            return
        claim = claim_of(rq, observation, decision, queue.cost, at)
        if grows and decision.to_replicas > claim.current:
            queue.asked = decision.to_replicas, now
            self._mark_dirty(queue.budget)
        elif decision.to_replicas <= claim.current:
            queue.asked = 0, now  # all is seen, or it shrinks
        self._take(queue, claim)

    def hold(self, rq: RedisQueue, has: int | None = None) -> None:
        """A look at it has decided nothing: it keeps what it has; None: what its status says."""
        queue = self._known(rq)
        if queue.budget is None:
            queue.claim = None
            return
        self._take(queue, claim_of_unseen(rq, queue.cost, has))

    def begin(self, rq: RedisQueue) -> None:
        """A look at it begins, which may fail: until one has found more it has what its status says."""
        if self._known(rq).claim is None:
            self.hold(rq)

    def _take(self, queue: _Queue, claim: Claim) -> None:
        if claim != queue.claim:
            queue.claim = claim
            self._mark_dirty(queue.budget)

    def forget(self, key: Key) -> None:
        """The RedisQueue is gone, and its share is free."""
        self._expected.pop(key, None)
        if (queue := self._queues.pop(key, None)) is not None:
            self._mark_dirty(queue.budget)
            self._mark_all_dirty(key, queue.others)

    def _known(self, rq: RedisQueue) -> _Queue:
        queue = self._queues.get(rq.key)
        if queue is None:
            queue = self._queues[rq.key] = _Queue(rq)
            self._find(rq.key, queue)
        elif queue.rq is not rq:
            before, queue.rq = queue.rq, rq
            labels = [each.raw["metadata"].get("labels") for each in (before, rq)]
            if before.uid != rq.uid:
                queue.claim = None
            if before.spec is not rq.spec or labels[0] != labels[1]:
                self._find(rq.key, queue)
        return queue

    # -- sharing out --

    async def run(self, told: Callable[[set[Key]], None] = lambda _: None) -> None:
        """Share out what changed, turn by turn; `told` of the budgets of each. Ends only by cancellation."""
        while True:
            await self._woken.wait()
            began = self._clock()
            told(self.share_out())
            await asyncio.sleep(max(PAUSE_SECONDS, (self._clock() - began) / PART))

    def share_out(self) -> set[Key]:
        """Share out all budgets that changed; which these are."""
        self._woken.clear()
        now = self._clock()
        self._expected = {key: until for key, until in self._expected.items() if until > now}
        awaited = {key.namespace for key in self._expected}
        ready = {key for key in self._dirty if key.namespace not in awaited}
        self._dirty -= ready
        if self._dirty:
            self._woken.set()
        dirty = ready & self.sharings.keys()
        members: dict[Key, list[_Queue]] = {key: [] for key in dirty}
        won: dict[Key, list[tuple[str, str]]] = {key: [] for key in dirty}
        lost: dict[Key, list[tuple[str, str]]] = {key: [] for key in dirty}
        for key, queue in self._queues.items() if dirty else ():
            if queue.budget is None:
                continue
            if queue.budget in dirty:
                members[queue.budget].append(queue)
                won[queue.budget] += [(key.name, other) for other in queue.others]
            for other in queue.others:
                if (loser := replace(key, name=other)) in dirty:
                    lost[loser].append((key.name, queue.budget.name))
        for key in dirty:
            try:
                self._share(key, members[key], tuple(sorted(lost[key])), tuple(sorted(won[key])))
            except Exception:  # no other budget waits for this one
                log.exception("budget %s is not shared out anew, its queues keep what they may have", key)
        return dirty

    def _share(
        self,
        key: Key,
        members: Iterable[_Queue],
        lost: tuple[tuple[str, str], ...],
        won: tuple[tuple[str, str], ...],
    ) -> None:
        before = self.sharings[key]
        known = [(queue, queue.claim) for queue in members if queue.claim is not None]
        claims = tuple(self._with_unseen(queue, claim) for queue, claim in known)
        got = shares(claims, before.budget.limit)
        self.sharings[key] = Sharing(before.budget, claims, got, lost, won)
        changed = {name for name, share in got.items() if before.shares.get(name) != share}
        self._tell(replace(key, name=name) for name in changed)

    def _with_unseen(self, queue: _Queue, claim: Claim) -> Claim:
        """With the workers that were asked for a moment ago; it is looked at again until they are seen."""
        asked, at = queue.asked
        if asked <= claim.current or self._clock() - at >= UNSEEN_SECONDS:
            return claim
        self._mark_dirty(queue.budget)
        return replace(claim, current=asked)

    def _mark_dirty(self, budget: Key | None) -> None:
        if budget is not None:
            self._dirty.add(budget)
            self._woken.set()

    def _mark_all_dirty(self, queue: Key, budgets: Iterable[str]) -> None:
        for name in budgets:
            self._mark_dirty(replace(queue, name=name))

    def _tell(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            self.notify(key)
