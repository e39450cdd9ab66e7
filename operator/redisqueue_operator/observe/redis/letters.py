"""Why the latest letters of a queue were given up: asked when somebody wants to know, and not at each sample.

What is read are the records that workers keep of them, never a payload.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from redis_message_queue.reasons import letter_reasons_async
from redis_message_queue.trouble import AWAY, first_word
from redisqueue_operator.interruptible import within
from redisqueue_operator.observe.redis.bulkhead import Bulkhead, server_at
from redisqueue_operator.observe.redis.endpoint import K
from redisqueue_operator.observe.redis.errors import classify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redisqueue_operator.observe.redis.sampler import Sampler

SOURCES = ("dead letters", "failed")
REASONS = 20
"""The rest is summed up."""
LONGEST_REASON = 120
ANSWER_SECONDS, TURN_SECONDS, SLOW_SECONDS = 1.0, 0.2, 0.2
AT_ONCE, AT_ONCE_EACH = 4, 1
# Each refused question leaves a line in the server's ACL LOG.
KEPT_SECONDS, REFUSAL_KEPT_SECONDS = 5.0, 3600.0
REMEMBERED = 64
REFUSED = "Redis refuses LRANGE to the operator's login, which needs it for this alone: +lrange allows it."

_ATTEMPT = re.compile(r" \(attempt \d+ of \d+\)$")
_KIND = re.compile(r"(invalid payload|[A-Za-z_][\w.]*):(?: |$)")
_TELLING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*[\d@]\S*")


@dataclass(frozen=True, slots=True)
class Letters:
    """How many letters have which reason, the most frequent first; or why that is not known."""

    by_reason: tuple[tuple[str, int], ...] = ()
    read: int = 0
    """So many of the latest letters were looked at."""
    unknown: str = ""
    """Why nothing is known; empty when it is."""


def reason_in_short(reason: str) -> str:
    """What letters of one cause have in common.

    Of an exception its type, whose text may hold anything. Of a handler's own words those that name nothing:
    numbers, addresses and what stands in quotes are left out.
    """
    text = _ATTEMPT.sub("", reason.strip())
    if found := _KIND.match(text):
        return found[1][:LONGEST_REASON]
    return _TELLING.sub("…", text)[:LONGEST_REASON] or "no reason on record"


def by_reason(reasons: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """In short and added up, the most frequent first; what is rare is summed up at the end."""
    counted: Counter[str] = Counter()
    for reason, number in reasons.items():
        counted[reason_in_short(reason)] += number
    most = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    rest = sum(number for _, number in most[REASONS:])
    return (*most[:REASONS], *([(f"{len(most) - REASONS} other reasons", rest)] if rest else []))


class LetterReasons(Generic[K]):
    """Asks the servers that `sampler` reads, with the same logins, one question each at a time."""

    def __init__(self, sampler: Sampler[K], clock: Callable[[], float] = time.monotonic) -> None:
        self._sampler = sampler
        self._clock = clock
        self._turns: Bulkhead[str] = Bulkhead(
            total=AT_ONCE, each=AT_ONCE_EACH, slow_seconds=SLOW_SECONDS, clock=clock
        )
        self._known: dict[K, tuple[float, dict[str, Letters]]] = {}

    async def of(self, key: K) -> dict[str, Letters]:
        """By `SOURCES`; raises nothing, what cannot be read says why."""
        until, known = self._known.get(key, (0.0, {}))
        if self._clock() < until:
            return known
        found, kept = await self._ask(key)
        self._known.pop(key, None)
        self._known[key] = (self._clock() + kept, found)
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found

    async def _ask(self, key: K) -> tuple[dict[str, Letters], float]:
        reached = await self._sampler.reach(key)
        if reached is None:
            return _unknown("The queue is not read."), 0.0
        client, keys, settings = reached
        try:
            async with self._turns.slot(server_at(settings), within_seconds=TURN_SECONDS):
                told = await within(ANSWER_SECONDS, letter_reasons_async(client, keys))
        except TimeoutError:
            return _unknown("Redis did not answer in time."), KEPT_SECONDS
        except AWAY as error:
            if first_word(error) == "NOPERM":
                return _unknown(REFUSED), REFUSAL_KEPT_SECONDS
            return _unknown(classify(error)[1]), KEPT_SECONDS
        letters = (Letters(by_reason(each), sum(each.values())) for each in told)
        return dict(zip(SOURCES, letters, strict=True)), KEPT_SECONDS


def _unknown(why: str) -> dict[str, Letters]:
    return dict.fromkeys(SOURCES, Letters(unknown=why))
