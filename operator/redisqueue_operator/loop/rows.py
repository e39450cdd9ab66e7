"""What a table shows of one RedisQueue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.loop.memory import Tracked


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One RedisQueue for a table. Unknown is None."""

    key: Key
    pending: int | None
    in_flight: int | None
    delayed: int | None
    failed: int | None
    dead_letter: int | None
    claims_total: int | None
    replicas: int | None
    ready: int
    busy: int
    wanted: int | None
    reason: str


def row_of(key: Key, tracked: Tracked) -> QueueRow:
    """The row of what was last seen and decided."""
    seen, decision = tracked.memory.observation, tracked.memory.decision
    queue = seen.queue if seen else None
    return QueueRow(
        key=key,
        pending=queue.pending if queue else None,
        in_flight=queue.in_flight if queue else None,
        delayed=queue.delayed if queue else None,
        failed=queue.failed if queue else None,
        dead_letter=queue.dead_letter if queue else None,
        claims_total=queue.claims_total if queue else None,
        replicas=seen.replicas if seen else None,
        ready=seen.ready_replicas if seen else 0,
        busy=sum(worker.busy for worker in seen.workers) if seen else 0,
        wanted=decision.to_replicas if decision else None,
        reason=decision.because if decision else tracked.memory.outcome.reason,
    )
