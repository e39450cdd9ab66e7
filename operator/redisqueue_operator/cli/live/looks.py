"""Looking at queues again and again, in a thread: a Redis that hangs keeps nobody from leaving."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from redis import RedisError
from redis.exceptions import RedisClusterException

from redis_message_queue.server import server_facts
from redis_message_queue.stats import QueueSample, sample
from redisqueue_operator.cli.address import discover
from redisqueue_operator.cli.foreign_keys import described
from redisqueue_operator.cli.options import UserError
from redisqueue_operator.decide.scaling.decision import Rates
from redisqueue_operator.decide.scaling.rates import RateHistory
from redisqueue_operator.observe.facts import QueueObservation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis_message_queue.keys import QueueKeys
    from redisqueue_operator.cli.address import Client, Place

HELD_SECONDS = 10.0
KEPT_SAMPLES = 300
"""As many as the widest terminal has columns."""
SHARE_OF_SEARCHES = 0.05
"""Of the time: a search looks at every key that the Redis has."""
_COUNTERS = [field.name for field in dataclasses.fields(QueueObservation)]


@dataclass(frozen=True)
class LiveQueue:
    """One queue as it was seen last; `sample` is None where it could not be read, and `problem` says why."""

    name: str
    sample: QueueSample | None
    problem: str = ""
    rates: Rates = Rates()  # noqa: RUF009 - it is frozen, too
    oldest_is_at_least: bool = False
    """The oldest message was there before the first look: it is older than that, nobody knows how much."""
    pending: tuple[int, ...] = ()
    """The numbers of the last looks, oldest first."""

    @property
    def busy(self) -> int:
        """Messages that workers have in hand."""
        return sum(worker.busy for worker in self.sample.workers) if self.sample else 0

    @property
    def slots(self) -> int:
        """How many they could have."""
        return sum(worker.slots for worker in self.sample.workers) if self.sample else 0


@dataclass(frozen=True)
class LiveView:
    """What the last look that succeeded brought, and what keeps the next one from it."""

    queues: tuple[LiveQueue, ...] = ()
    remarks: tuple[str, ...] = ()
    at: datetime | None = None
    """None before the first."""
    trouble: str = ""


class Looks:
    """Looks at the queues of a Redis, those that are named or all that are found; remembers what it saw."""

    def __init__(self, client: Client, places: Sequence[Place], separator: str) -> None:
        self._client = client
        self._places = places
        self._separator = separator
        self._rates: dict[str, RateHistory] = {}
        self._pending: dict[str, deque[int]] = {}
        self._remarks: tuple[str, ...] | None = None
        self._found: list[QueueKeys] = []
        self._search_again_at = 0.0
        self._held: tuple[str, ...] = ()
        self._held_at = float("-inf")

    def look(self) -> LiveView:
        """Look again. Raises UserError for a queue that never was, RedisError for a Redis that is away."""
        if self._remarks is None:
            for place in self._places:
                place.must_exist(self._client)
            self._remarks = tuple(remarks_on(self._client))
        found = [each.keys for each in self._places] or self._discovered()
        samples = sample(self._client, found) if found else []
        queues = tuple(self._seen(keys.name, one) for keys, one in zip(found, samples, strict=True))
        return LiveView(queues, (*self._remarks, *self._budgets()), datetime.now(UTC))

    def _budgets(self) -> tuple[str, ...]:
        """Which of them a budget holds, as the cluster says now and then; its silence is not told."""
        if time.monotonic() - self._held_at >= HELD_SECONDS:
            self._held = tuple(held_by_budgets(self._places))
            self._held_at = time.monotonic()
        return self._held

    def _discovered(self) -> list[QueueKeys]:
        """All queues there are; those of the last search while another one would cost more than its share."""
        began = time.monotonic()
        if began >= self._search_again_at:
            self._found = discover(self._client, self._separator)
            now = time.monotonic()
            self._search_again_at = now + (now - began) / SHARE_OF_SEARCHES
        return self._found

    def _seen(self, name: str, one: QueueSample | Exception) -> LiveQueue:
        if isinstance(one, Exception):
            return LiveQueue(name, None, described(one))
        observation = QueueObservation(**{name: getattr(one, name) for name in _COUNTERS})
        busy = sum(worker.busy for worker in one.workers)
        history = self._rates[name] = self._rates.get(name, RateHistory()).add(observation, busy)
        pending = self._pending.setdefault(name, deque(maxlen=KEPT_SAMPLES))
        pending.append(one.pending)
        points = history.points
        bound = bool(points) and points[0].arrived > points[-1].claims
        return LiveQueue(name, one, "", history.rates(), bound, tuple(pending))


def held_by_budgets(places: Sequence[Place]) -> Iterator[str]:
    """Which of these queues have less than they want, and why."""
    for place in places:
        with contextlib.suppress(UserError):
            if place.held is not None and (text := place.held()):
                yield f"{place.keys.name} is held by {text}"


def remarks_on(client: Client) -> list[str]:
    """What is wrong, or not known, of a server that shall keep messages."""
    facts = server_facts(client)
    remarks = [f"warning: {concern.reason}: {concern.text}" for concern in facts.concerns]
    if facts.unknown:
        remarks.append(f"unknown: this Redis does not tell {', '.join(facts.unknown)} (INFO, CONFIG GET)")
    return remarks


class LookingThread(threading.Thread):
    """Looks once in `interval_seconds` from its start on; `seen` is what is known by now."""

    def __init__(self, looks: Looks, interval_seconds: float) -> None:
        super().__init__(name="looks", daemon=True)
        self._looks = looks
        self._interval_seconds = interval_seconds
        self._error: Exception | None = None
        self._seen = LiveView()

    def seen(self) -> LiveView:
        """The last look. Raises what ended the looking: a mistake of the user, or a fault of ours."""
        if self._error is not None:
            raise self._error
        return self._seen

    def run(self) -> None:
        """Until the process ends; a Redis that is away is asked again."""
        while True:
            began = time.monotonic()
            try:
                self._seen = self._looks.look()
            except (RedisError, RedisClusterException) as error:
                self._seen = dataclasses.replace(self._seen, trouble=described(error))
            except Exception as error:  # told by `seen`, in the thread that can end the program
                self._error = error
                return
            time.sleep(max(0.0, began + self._interval_seconds - time.monotonic()))
