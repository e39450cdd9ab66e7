"""Every field that the operator writes into .status is in the CRD; the server would drop it silently."""

from __future__ import annotations

import dataclasses

from tests.support.observations import once, pod, queue, seen, worker
from tests.support.redisqueue_cases import redis_queue

from redisqueue_operator import api
from redisqueue_operator.api import definition, structure
from redisqueue_operator.decide.canary import Phase, Rollout, Tally
from redisqueue_operator.decide.scaling import Rates
from redisqueue_operator.decide.status import build_status
from redisqueue_operator.observe.facts import ApplyOutcome


def test_status_fits_the_schema() -> None:
    pods = [pod("busy"), pod("idle"), pod("new", ready=False), pod("leaving", terminating=True)]
    reports = [worker("busy", 1), worker("idle"), worker("leaving", 1, draining=True)]
    observation = seen(queue(500, in_flight=2, delayed=3, next_due=9.0, dead_letter=4), pods, reports)
    rates = Rates(arrivals_per_second=12.5, claims_per_second=0.5, eta_seconds=40.0)
    decision = dataclasses.replace(once(observation), rates=rates, blocked_by="4 busy workers")
    outcome = ApplyOutcome(ok=True, reason="Applied", message="")
    trial = Rollout(Phase.CANARY, "new", "old", 0, base=Tally(1), stable_base=Tally(2))
    status = build_status(api.parse(redis_queue()), observation, decision, outcome, {}, 1000.0, trial)

    assert {"queue", "workers", "rates", "decision", "rollout", "conditions", "state"} <= status.keys()
    schema = definition.schema()["properties"]["status"]
    assert list(structure.check(status, schema, "status")) == []
