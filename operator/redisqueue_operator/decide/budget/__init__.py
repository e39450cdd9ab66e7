"""How RedisQueues share a budget of workers: what each wants goes in, what each may have comes out. Pure."""

from redisqueue_operator.decide.budget.allocation import Amount, Limit
from redisqueue_operator.decide.budget.claims import claim_of, claim_of_unseen
from redisqueue_operator.decide.budget.cost import cost_of
from redisqueue_operator.decide.budget.sharing import (
    REASONS,
    Allotment,
    Claim,
    Selecting,
    asked,
    held_by_budget,
    minimums_fit,
    owner_of,
    shares,
    used,
    why,
)

__all__ = [
    "REASONS",
    "Allotment",
    "Amount",
    "Claim",
    "Limit",
    "Selecting",
    "asked",
    "claim_of",
    "claim_of_unseen",
    "cost_of",
    "held_by_budget",
    "minimums_fit",
    "owner_of",
    "shares",
    "used",
    "why",
]
