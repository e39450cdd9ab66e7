"""What one worker of a queue counts for: what its pod requests, as Kubernetes counts it. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children.drift import quantity
from redisqueue_operator.decide.children.merge import merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.budget.allocation import Amount, Limit

_UNITS = {"cpu": Decimal(1000), "memory": Decimal(1)}


def cost_of(rq: RedisQueue, limit: Limit) -> Amount | None:
    """What one worker counts for: what its pod requests. None where it does not say what is limited."""
    worker = rq.spec.worker
    ours = {"spec": {"containers": [{"name": "worker", "resources": worker.resources}]}}
    pod = merged(ours, worker.template).get("spec") or {}
    parts = [1, 0, 0]
    for part, name in enumerate(_UNITS, 1):
        if limit[part] == float("inf"):
            continue
        if (amount := _requested(pod, name)) is None:
            return None
        parts[part] = int((amount * _UNITS[name]).to_integral_value(ROUND_CEILING))
    return parts[0], parts[1], parts[2]


def _requested(pod: Mapping[str, Any], name: str) -> Decimal | None:
    """By the whole pod, as Kubernetes counts it: sidecars run beside all that is started after them."""
    if (whole := _request(pod, name)) is not None:
        return whole
    beside = most = Decimal(0)
    for each in _listed(pod, "initContainers"):
        amount = _request(each, name) or Decimal(0)
        sidecar = isinstance(each, dict) and each.get("restartPolicy") == "Always"
        most = max(most, beside + amount)
        beside += amount if sidecar else 0
    running = [_request(each, name) for each in _listed(pod, "containers")]
    known = [each for each in running if each is not None]
    return max(most, sum(known, beside)) if len(known) == len(running) > 0 else None


def _listed(pod: Mapping[str, Any], name: str) -> list[Any]:
    found = pod.get(name)
    return found if isinstance(found, list) else []


def _request(holder: Any, name: str) -> Decimal | None:
    """A limit alone is a request, too: so the API server has it. What it would refuse says nothing."""
    resources = holder.get("resources") if isinstance(holder, dict) else None
    for kind in ("requests", "limits"):
        amounts = resources.get(kind) if isinstance(resources, dict) else None
        if isinstance(amounts, dict) and (value := amounts.get(name)) is not None:
            amount = quantity(str(value))
            return None if amount is None or amount < 0 else amount
    return None
