"""A model of KEDA 2.21 and the HorizontalPodAutoscaler, from their documentation.

KEDA looks at the list every `pollingInterval`: it takes a Deployment from zero to one (or the minimum) when
the list is longer than `activationListLength`, and to zero when no look within `cooldownPeriod` found it so.
https://keda.sh/docs/2.21/reference/scaledobject-spec/

Above, the HorizontalPodAutoscaler that KEDA makes looks every 15 seconds, in a phase of its own. It asks KEDA
for the value at that moment and wants value / `listLength` pods, rounded up; it wants those that there are
while the value is within 10 % of what these stand for.
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details

Assumptions, where the documentation leaves a choice: in favour of KEDA.

- Its API calls take a tenth of a second and none is throttled.
- It reads the list at the moment of the look, and so does the HorizontalPodAutoscaler through it.
- An error of the scaler changes nothing, without a fallback as with ours
  (https://keda.sh/docs/2.21/reference/scaledobject-spec/#fallback).
- Without a `behavior`, growth in one step is at most to twice the pods, or to four; tests set that against
  times measured with KEDA 2.21 on a real API server.
- Its pods run the same worker on the same queue: at SIGTERM it claims no more and finishes what it runs. But
  nobody has set a grace period, so Kubernetes' 30 seconds hold
  (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulate.world import Grace

if TYPE_CHECKING:
    import random

    from tests.simulate.timeline import Timeline
    from tests.simulate.world import World

SYNC_SECONDS = 15.0
"""`--horizontal-pod-autoscaler-sync-period`, of the whole cluster; managed ones do not let it be changed."""
TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`."""
WRITE_SECONDS = (0.05, 0.15)
DEFAULT_GRACE = Grace(30.0, hands_back=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A ScaledObject; the defaults are KEDA's, and `listLength` is per slot, as `backlogPerSlot` is."""

    min_replicas: int = 0
    max_replicas: int = 10
    list_length: int = 5
    polling_seconds: float = 30.0
    cooldown_seconds: float = 300.0
    down_window_seconds: float = 300.0
    """`behavior.scaleDown.stabilizationWindowSeconds`."""
    pods_at_once: int | None = None
    """`behavior.scaleUp.policies`: Pods, per second; None: no behavior was given."""
    counts_in_flight: bool = False
    """A second trigger, on the messages in work, and a `scalingModifiers` formula that adds the two."""


class Keda:
    """Scales the world by a ScaledObject."""

    def __init__(
        self, timeline: Timeline, world: World, settings: Settings, random_: random.Random, slots: int = 1
    ) -> None:
        self._timeline = timeline
        self._world = world
        self._settings = settings
        self._random = random_
        self._target = settings.list_length * slots
        self._active_at = -math.inf
        self._recommended: deque[tuple[float, int]] = deque()
        timeline.after(random_.uniform(0, settings.polling_seconds), self._poll)
        timeline.after(random_.uniform(0, SYNC_SECONDS), self._sync)

    def _value(self) -> int | None:
        redis = self._world.redis
        if not redis.up:
            return None
        return len(redis.pending) + (len(redis.in_flight) if self._settings.counts_in_flight else 0)

    def _poll(self) -> None:
        """KEDA's own loop: between zero and one."""
        self._timeline.after(self._settings.polling_seconds, self._poll)
        value, now = self._value(), self._timeline.now
        if value is None:
            return
        if value > 0:
            self._active_at = now
            if self._world.replicas == 0:
                self._write(max(1, self._settings.min_replicas))
        elif self._world.replicas and now - self._active_at >= self._settings.cooldown_seconds:
            self._write(self._settings.min_replicas)

    def _sync(self) -> None:
        """The HorizontalPodAutoscaler: one and more. At zero it is off."""
        self._timeline.after(SYNC_SECONDS, self._sync)
        current = self._world.replicas
        value = self._value()
        if current == 0 or value is None:
            return
        wanted = self._world.live
        if abs(value - self._target * wanted) > TOLERANCE * self._target * wanted:
            wanted = math.ceil(value / self._target)
        stable = self._stabilized(wanted, current)
        stable = min(max(stable, 1, self._settings.min_replicas), self._settings.max_replicas)
        self._write(min(stable, self._most(current)))

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

    def _write(self, replicas: int) -> None:
        if replicas != self._world.replicas:
            self._timeline.after(self._random.uniform(*WRITE_SECONDS), lambda: self._world.scale(replicas))
