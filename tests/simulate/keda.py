"""A model of KEDA 2.21 and the HorizontalPodAutoscaler, from their documentation.

KEDA looks at the list every `pollingInterval`: it takes a Deployment from zero to one (or the minimum) when
the list is longer than `activationListLength`, and to zero when no look within `cooldownPeriod` found it so.
https://keda.sh/docs/2.21/reference/scaledobject-spec/

Above, the HorizontalPodAutoscaler that KEDA makes (`hpa`) asks KEDA for the value at that moment.

Assumptions, where the documentation leaves a choice: in favour of KEDA.

- Its API calls take a tenth of a second and none is throttled.
- It reads the list at the moment of the look, and so does the HorizontalPodAutoscaler through it.
- An error of the scaler changes nothing, without a fallback as with ours
  (https://keda.sh/docs/2.21/reference/scaledobject-spec/#fallback).
- Its pods run the same worker on the same queue: at SIGTERM it claims no more and finishes what it runs. But
  nobody has set a grace period, so Kubernetes' 30 seconds hold
  (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulate.hpa import Autoscaler, HorizontalPodAutoscaler, messages, write
from tests.simulate.world import Grace

if TYPE_CHECKING:
    import random

    from tests.simulate.timeline import Timeline
    from tests.simulate.world import World

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
        self._active_at = -math.inf
        timeline.after(random_.uniform(0, settings.polling_seconds), self._poll)
        above = Autoscaler(
            target=settings.list_length * slots,
            min_replicas=max(1, settings.min_replicas),
            max_replicas=settings.max_replicas,
            down_window_seconds=settings.down_window_seconds,
            pods_at_once=settings.pods_at_once,
        )
        HorizontalPodAutoscaler(timeline, world, above, random_, self._value)

    def _value(self) -> int | None:
        return messages(self._world, self._settings.counts_in_flight)

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

    def _write(self, replicas: int) -> None:
        write(self._timeline, self._world, self._random, replicas)
