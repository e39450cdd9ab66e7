"""Who takes part: this project, KEDA as it comes, tuned and at its best, and what Kubernetes has alone.

All have the same target (5 messages a slot) and the same bounds (0 to 20 pods).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

from tests.simulate.hpa import Autoscaler, HorizontalPodAutoscaler
from tests.simulate.keda import DEFAULT_GRACE, Keda, Settings
from tests.simulate.ours import Operator, always
from tests.simulate.world import Grace

from redisqueue_operator.decide.scaling import Policy

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from datetime import datetime

    from tests.simulate.ours import PolicyAt
    from tests.simulate.timeline import Timeline
    from tests.simulate.world import World

    from redisqueue_operator.api.model import Spec

MOST_REPLICAS = 20
OUR_GRACE = Grace(300.0, hands_back=True)
"""`drain.timeoutSeconds` and `drain.onTimeout: ReturnToFront`."""


@dataclass(frozen=True)
class Scaler:
    """Somebody who scales, and how the pods go that are no longer wanted."""

    name: str
    text: str
    grace: Grace
    start: Callable[[Timeline, World, random.Random, int], object]
    """Timeline, world, source of chance, slots of a pod."""


def redisqueue(policy: PolicyAt, text: str, sample_seconds: float = 0.2) -> Scaler:
    def start(timeline: Timeline, world: World, random_: random.Random, slots: int) -> Operator:
        def of_load(at: float) -> Policy:
            return replace(policy(at), concurrency=slots, limits=world.redis.limits)

        return Operator(timeline, world, of_load, random_, sample_seconds)

    return Scaler("RedisQueue", text, OUR_GRACE, start)


def in_force(spec: Spec, begins: datetime) -> PolicyAt:
    """What a spec says, with its schedules, where the simulation begins at that moment."""
    start = (begins if begins.tzinfo is not None else begins.replace(tzinfo=UTC)).timestamp()
    return lambda at: Policy.of(spec, start + at)


def keda(name: str, settings: Settings, grace: Grace, text: str) -> Scaler:
    def start(timeline: Timeline, world: World, random_: random.Random, slots: int) -> Keda:
        return Keda(timeline, world, settings, random_, slots)

    return Scaler(name, text, grace, start)


def hpa(name: str, settings: Autoscaler, grace: Grace, text: str) -> Scaler:
    def start(
        timeline: Timeline, world: World, random_: random.Random, slots: int
    ) -> HorizontalPodAutoscaler:
        of_load = replace(settings, target=settings.target * slots)
        return HorizontalPodAutoscaler(timeline, world, of_load, random_)

    return Scaler(name, text, grace, start)


TUNED = Settings(
    max_replicas=MOST_REPLICAS,
    polling_seconds=1.0,
    cooldown_seconds=30.0,
    down_window_seconds=60.0,
    pods_at_once=100,
)
SCALERS: tuple[Scaler, ...] = (
    redisqueue(always(Policy(max_replicas=MOST_REPLICAS)), "defaults of the resource"),
    keda("KEDA", Settings(max_replicas=MOST_REPLICAS), DEFAULT_GRACE, "defaults"),
    keda(
        "KEDA tuned",
        TUNED,
        DEFAULT_GRACE,
        "pollingInterval 1, scaleUp Pods 100 per second, and our times for the way down: cooldownPeriod 30, "
        "scaleDown.stabilizationWindowSeconds 60",
    ),
    keda(
        "KEDA best",
        replace(TUNED, counts_in_flight=True),
        Grace(315.0, hands_back=False),
        "the same, messages in flight counted too (a second trigger, scalingModifiers.formula), "
        "terminationGracePeriodSeconds 315",
    ),
    hpa(
        "HPA",
        Autoscaler(target=5, max_replicas=MOST_REPLICAS),
        DEFAULT_GRACE,
        "Kubernetes 1.37, minReplicas 0, an external metric of what waits, everything else as it comes",
    ),
    hpa(
        "HPA best",
        Autoscaler(
            target=5,
            max_replicas=MOST_REPLICAS,
            sync_seconds=1.0,
            down_window_seconds=60.0,
            pods_at_once=100,
            counts_in_flight=True,
        ),
        Grace(315.0, hands_back=False),
        "--horizontal-pod-autoscaler-sync-period=1s, which is the cluster's, scaleUp Pods 100 per second, "
        "scaleDown.stabilizationWindowSeconds 60, messages in flight counted too, "
        "terminationGracePeriodSeconds 315",
    ),
)
