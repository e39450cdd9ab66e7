"""The terms: how many workers the work itself asks for, before any limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.decide.scaling.decision import Rates, Term
from redisqueue_operator.decide.scaling.limits import limit_terms
from redisqueue_operator.decide.scaling.rates import RATE_SECONDS, RateHistory

if TYPE_CHECKING:
    from redisqueue_operator.decide.scaling.history import History
    from redisqueue_operator.decide.scaling.live_pods import LivePods
    from redisqueue_operator.decide.scaling.policy import Policy
    from redisqueue_operator.observe.facts import Observation, QueueObservation

ACTIVATION = "1 when anything waits or a lease has expired"


@dataclass(frozen=True, slots=True)
class Need:
    """The largest term, and what the gates must know of the queue."""

    value: int
    reason: str = ""
    terms: tuple[Term, ...] = ()
    activation: int = 0
    empty: bool = False
    """Nothing pending, due, in flight or expired."""
    in_flight: int = 0
    ceiling: int | None = None
    """How many workers of all parties the queue's limits let work; None: any number."""
    changes_in_seconds: float = math.inf
    """When time alone changes the need: a message is due, one has waited too long, or none came of late."""
    history: RateHistory = field(default_factory=RateHistory)


def need_of(observation: Observation, policy: Policy, fleet: LivePods, history: History) -> Need | None:
    """What the queue asks for; None when Redis could not be read."""
    queue = observation.queue
    if queue is None:
        return None
    busy = fleet.busy_slots + fleet.draining_busy + observation.others.busy
    rates_history = history.rates.add(queue, busy)
    activation = int(queue.pending > 0 or queue.delayed_due > 0 or queue.expired > 0)
    terms = [
        _backlog(queue, policy, fleet),
        Term("Activation", activation, ACTIVATION),
    ]
    rates = rates_history.rates()
    terms += _drain_within(queue, policy, rates, rates_history)
    terms += _message_age(observation, policy, rates)
    best = max(terms, key=lambda term: term.value)
    reason, wanted = _name(best, activation), best.value
    limits = limit_terms(policy.limits, policy.concurrency, _held(queue, fleet), rates_history)
    terms += limits
    lowest = min(limits, key=lambda term: term.value, default=None)
    if lowest is not None and lowest.value < wanted:
        # Where the maximum is lower still, that settles the number.
        reason = lowest.name if lowest.value < policy.max_replicas else reason
        wanted = lowest.value
    value = rest_of(wanted, observation, policy)
    if value < wanted:
        others = other_workers(observation, policy)
        inputs = f"{wanted} wanted, of which the {others} workers of others are a part"
        reason = "SharedQueue"
        terms.append(Term(reason, value, inputs))
    return Need(
        value=value,
        reason=reason,
        terms=tuple(terms),
        activation=activation,
        empty=not (queue.pending or queue.delayed_due or queue.in_flight or queue.expired),
        in_flight=queue.in_flight,
        ceiling=None if lowest is None else lowest.value,
        changes_in_seconds=min(_due_in(queue), _too_old_in(policy, rates), _slower_in(policy, rates)),
        history=rates_history,
    )


def other_workers(observation: Observation, policy: Policy) -> int:
    """How many workers of ours those of others on a shared queue are worth."""
    return observation.others.slots // policy.concurrency


def rest_of(wanted: int, observation: Observation, policy: Policy) -> int:
    """What is left for our own workers of a number that all on a shared queue are to be together.

    Where they are too many, each party gives up its part of that: if each left the whole of it to the other
    ones, nobody would be left.
    """
    current, others = observation.replicas or 0, other_workers(observation, policy)
    if not others:
        return wanted
    return max(wanted - others, math.ceil(wanted * current / (current + others)))


def _due_in(queue: QueueObservation) -> float:
    # What is due already is work, and is counted as such: there is no time left to wait for.
    return queue.next_due_seconds if queue.next_due_seconds and queue.next_due_seconds > 0 else math.inf


def _too_old_in(policy: Policy, rates: Rates) -> float:
    """Beyond the limit the term goes on growing with the age: once a second is often enough."""
    age, limit = rates.oldest_age_seconds, policy.max_message_age_seconds
    if age is None or limit is None or not rates.waiting:
        return math.inf
    return max(1.0, limit - age)


def _slower_in(policy: Policy, rates: Rates) -> float:
    """When nothing arrives any more, no sample has news of it: the rate has to be looked at."""
    counts = policy.drain_within_seconds is not None and rates.arrivals_per_second
    return RATE_SECONDS if counts else math.inf


def _name(best: Term, activation: int) -> str:
    """Why: one worker for anything at all is an activation, and no worker is idleness."""
    if best.value == 0:
        return "Idle"
    return "Activation" if best.value == activation else best.name


def _held(queue: QueueObservation, fleet: LivePods) -> int:
    """What terminating pods work on needs no worker beside them; once handed back, it is pending again."""
    return max(0, queue.in_flight - fleet.draining_busy)


def _backlog(queue: QueueObservation, policy: Policy, fleet: LivePods) -> Term:
    in_flight = _held(queue, fleet)
    backlog = queue.pending + queue.delayed_due + in_flight
    inputs = (
        f"({queue.pending} pending + {queue.delayed_due} due + {in_flight} in flight)"
        f" / ({policy.backlog_per_slot} per slot * {policy.concurrency} slots)"
    )
    per_worker = policy.backlog_per_slot * policy.concurrency
    return Term("BacklogPerSlot", math.ceil(backlog / per_worker), inputs)


def _drain_within(queue: QueueObservation, policy: Policy, rates: Rates, history: RateHistory) -> list[Term]:
    """Enough for what arrives, and for the backlog within the given time; off without a measured speed."""
    arrivals, seconds = rates.arrivals_per_second, policy.drain_within_seconds
    if seconds is None or arrivals is None or not (per_slot := history.claims_per_slot()):
        return []
    per_second = arrivals + (queue.pending + queue.delayed_due) / seconds
    inputs = (
        f"({arrivals:.3g}/s arrive + {queue.pending + queue.delayed_due} waiting / {seconds:g} s)"
        f" / ({per_slot:.3g}/s per slot * {policy.concurrency} slots)"
    )
    return [Term("DrainWithin", math.ceil(per_second / (per_slot * policy.concurrency)), inputs)]


def _message_age(observation: Observation, policy: Policy, rates: Rates) -> list[Term]:
    """Up to twice the workers when a message waits too long; the next step once the last one is ready."""
    age, limit = rates.oldest_age_seconds, policy.max_message_age_seconds
    if limit is None or age is None or age <= limit:
        return []
    current, ready = observation.replicas or 0, observation.ready_replicas
    others = other_workers(observation, policy)  # they have a rule of their own
    if ready < current:
        text = f"{ready} of {current} workers are ready: no next step yet"
        return [Term("MessageAge", current + others, text)]
    inputs = f"{ready} ready * {age:.3g} s old / {limit:g} s, at most twice"
    return [Term("MessageAge", max(1, math.ceil(ready * min(2.0, age / limit))) + others, inputs)]
