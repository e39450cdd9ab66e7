"""The queue in Redis, as far as a scaler can see and change it. Facts: worker/README.md, crds/README.md."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from redisqueue_operator.decide.scaling.limits import NO_LIMITS, Limits

VISIBILITY_TIMEOUT_SECONDS = 120.0
"""`queue.visibilityTimeoutSeconds`; a worker renews its leases four times in this time."""
MAX_DELIVERY_COUNT = 10
"""`queue.maxDeliveryCount`."""
MAX_ATTEMPTS = 3
"""`worker.retry.maxAttempts`: a message whose handler raised this often is a dead letter."""


@dataclass(eq=False, slots=True)
class Message:
    """`fails`: its handler always raises, or takes the whole process with it."""

    arrived: float
    handling_seconds: float
    fails: Literal["", "raises", "kills"] = ""
    deliveries: int = 0


class RedisModel:
    """Lists, leases and counters of one queue."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.up = True
        self.limits = limits
        self.pending: deque[Message] = deque()
        """Oldest first."""
        self.expired: deque[Message] = deque()
        self.in_flight: set[Message] = set()
        """Under a lease, expired ones included."""
        self.claims = 0
        self.dead_letters = 0
        self._full_at = 0.0
        self._delayed: list[tuple[float, int, Message]] = []
        self._number = itertools.count()

    def delayed(self) -> int:
        return len(self._delayed)

    def due(self, now: float) -> int:
        return sum(at <= now for at, _, _ in self._delayed)

    def next_due(self) -> float | None:
        """When the next delayed message is due; None when there is none."""
        return self._delayed[0][0] if self._delayed else None

    def claim(self, now: float) -> Message | None:
        """The next message for a consumer, which also takes back expired leases and promotes what is due.

        None while there is none, or the queue's limits let none begin.
        """
        if self.begins_at(now) > now:
            return None
        while self._delayed and self._delayed[0][0] <= now:
            self.pending.append(heapq.heappop(self._delayed)[2])
        while self.expired:
            message = self.expired.popleft()
            if message.deliveries < MAX_DELIVERY_COUNT:
                return self._deliver(message, now)
            self.bury(message)
        return self._deliver(self.pending.popleft(), now) if self.pending else None

    def begins_at(self, now: float) -> float:
        """When the limits let another message begin; infinite when one in flight must end first."""
        if self.limits.max_in_flight is not None and len(self.in_flight) >= self.limits.max_in_flight:
            return math.inf
        if self.limits.rate_per_second is None:
            return now
        return max(now, self._full_at - (self.limits.burst - 1) / self.limits.rate_per_second - 1e-9)

    def _deliver(self, message: Message, now: float) -> Message:
        if self.limits.rate_per_second is not None:
            self._full_at = max(now, self._full_at) + 1 / self.limits.rate_per_second
        message.deliveries += 1
        self.claims += 1
        self.in_flight.add(message)
        return message

    def done(self, message: Message) -> None:
        self.in_flight.discard(message)

    def bury(self, message: Message) -> None:
        """Make it a dead letter."""
        self.in_flight.discard(message)
        self.dead_letters += 1

    def retry(self, message: Message, due: float) -> None:
        """Deliver it again later."""
        self.in_flight.discard(message)
        heapq.heappush(self._delayed, (due, next(self._number), message))

    def give_back(self, message: Message) -> None:
        """To the front of the queue, the delivery not counted."""
        self.in_flight.discard(message)
        message.deliveries -= 1
        self.pending.appendleft(message)

    def expire(self, message: Message) -> None:
        """Its lease ran out: it is in flight until a consumer takes it back."""
        if message in self.in_flight:
            self.expired.append(message)

    def unfinished(self) -> list[Message]:
        """Whatever is neither done nor a dead letter."""
        return [*self.pending, *self.in_flight, *(message for _, _, message in self._delayed)]
