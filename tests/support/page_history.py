"""Histories for the page in a line or two, with a clock that stands where a test puts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.observations import once, queue, seen

from redisqueue_operator.api import Key
from redisqueue_operator.serve.page.history import PageHistory
from redisqueue_operator.serve.page.server import PageServer

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import QueueObservation
    from redisqueue_operator.observe.redis.letters import Letters

WALL = 1_800_000_000.0


def condition(kind: str, status: str, reason: str = "Because", message: str = "") -> dict[str, Any]:
    """As a status has it."""
    at = "2026-01-01T00:00:00Z"
    return {
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at
    }  # fmt: skip


class Told:
    """A history, and what else a page asks for."""

    def __init__(self) -> None:
        self.now = 6000.0
        self.history = PageHistory(lambda: self.now)
        self.explained: dict[Key, list[str]] = {}
        self.letters: dict[str, Letters] = {}
        self.asked = 0
        self.unready = ""

    def see(
        self,
        name: str,
        of: QueueObservation | None = None,
        *,
        namespace: str = "shop",
        state: str = "Running",
        conditions: tuple[dict[str, Any], ...] = (),
        ready: int = 0,
    ) -> Key:
        """That queue is so now; without an observation Redis cannot be read."""
        key, observation = Key(namespace, name), seen(of, replicas=ready, ready=ready)
        status = {"state": state, "conditions": conditions}
        self.history.observe(key, observation, once(observation), status)
        return key

    def fleet(self, count: int) -> None:
        """So many queues, `queue-0000` and so on, the first with the most to do."""
        for number in range(count):
            self.see(f"queue-{number:04}", queue(count - number, claims=number))

    def served(self, **options: Any) -> PageServer:
        """The page, at a free port."""
        return PageServer(
            0,
            history=self.history,
            explain=self.explained.get,
            letters=self._letters,
            unready=lambda: self.unready,
            wall=lambda: WALL,
            **options,
        )

    async def _letters(self, _: Key) -> dict[str, Letters]:
        self.asked += 1
        return self.letters
