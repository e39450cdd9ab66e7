"""A model of the HorizontalPodAutoscaler of Kubernetes 1.37 with one external metric, from its documentation.

It looks every 15 seconds, in a phase of its own. It wants value / target pods, rounded up, and those that
there are while the value is within 10 % of what these stand for.
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details

With `minReplicas: 0` it goes to zero, and looks on where it went there itself, which is how each load begins:
who was at zero before, or was sent there by somebody else, is left alone.

Assumptions, where the documentation leaves a choice: in favour of the HorizontalPodAutoscaler.

- The metric is what the list holds at the moment of the look: whoever serves it keeps nothing.
- Its API calls take a tenth of a second and none is throttled.
- A metric that cannot be told changes nothing.
- Without a `behavior`, growth in one step is at most to twice the pods, or to four; tests set that against
  times measured on a real API server.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.simulate.timeline import Timeline
    from tests.simulate.world import World

SYNC_SECONDS = 15.0
"""`--horizontal-pod-autoscaler-sync-period`, of the whole cluster; managed ones do not let it be changed."""
TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`."""
WRITE_SECONDS = (0.05, 0.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """A HorizontalPodAutoscaler; the defaults are its own."""

    target: int
    """`target.averageValue`."""
    min_replicas: int = 0
    max_replicas: int = 10
    sync_seconds: float = SYNC_SECONDS
    down_window_seconds: float = 300.0
    """`behavior.scaleDown.stabilizationWindowSeconds`."""
    pods_at_once: int | None = None
    """`behavior.scaleUp.policies`: Pods, per second; None: no behavior was given."""
    counts_in_flight: bool = False
    """The metric is what waits and what is in work."""


class HorizontalPodAutoscaler:
    """Scales the world by what `value` says at each look; None: unknown."""

    def __init__(
        self,
        timeline: Timeline,
        world: World,
        settings: Autoscaler,
        random_: random.Random,
        value: Callable[[], int | None] | None = None,
    ) -> None:
        self._timeline = timeline
        self._world = world
        self._settings = settings
        self._random = random_
        self._value = value or (lambda: messages(world, settings.counts_in_flight))
        self._recommended: deque[tuple[float, int]] = deque()
        timeline.after(random_.uniform(0, settings.sync_seconds), self._sync)

    def _sync(self) -> None:
        settings = self._settings
        self._timeline.after(settings.sync_seconds, self._sync)
        current, value = self._world.replicas, self._value()
        if value is None or (current == 0 and settings.min_replicas > 0):
            return
        wanted = self._world.live
        if abs(value - settings.target * wanted) > TOLERANCE * settings.target * wanted:
            wanted = math.ceil(value / settings.target)
        stable = self._stabilized(wanted, current)
        stable = min(max(stable, settings.min_replicas), settings.max_replicas)
        write(self._timeline, self._world, self._random, min(stable, self._most(current)))

    def _stabilized(self, wanted: int, current: int) -> int:
        """Growth counts at once; a shrink goes to the most that was wanted within the window."""
        now, kept = self._timeline.now, self._recommended
        if not kept:
            kept.append((now, current))
        kept.append((now, wanted))
        while kept[0][0] < now - self._settings.down_window_seconds:
            kept.popleft()
        if wanted >= current:
            return wanted
        return min(current, max(value for _, value in kept))

    def _most(self, current: int) -> int:
        if self._settings.pods_at_once is not None:
            return current + self._settings.pods_at_once
        return max(2 * current, 4)


def messages(world: World, in_flight: bool) -> int | None:
    """How many wait, and are in work where those count; None while Redis is away."""
    redis = world.redis
    return len(redis.pending) + (len(redis.in_flight) if in_flight else 0) if redis.up else None


def write(timeline: Timeline, world: World, random_: random.Random, replicas: int) -> None:
    """Change the number, a tenth of a second later."""
    if replicas != world.replicas:
        timeline.after(random_.uniform(*WRITE_SECONDS), lambda: world.scale(replicas))
