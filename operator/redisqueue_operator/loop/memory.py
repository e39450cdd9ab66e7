"""What the loop keeps of one RedisQueue between two looks: a cache and a history, never the truth."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api import parse
from redisqueue_operator.decide.look import LONG_AGO

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings
    from redisqueue_operator.api.model import RedisQueue
    from redisqueue_operator.decide.look import Memory


@dataclass(slots=True)
class Tracked:
    """One RedisQueue. Times are the engine's clock; `raw` is its newest version, `rq` the same, typed."""

    uid: str
    memory: Memory
    raw: dict[str, Any] | None = None
    rq: RedisQueue | None = None
    """None while the spec says nothing usable; `problem` then says why."""
    problem: str = ""
    pods_made: tuple[int | None, int] = (None, 0)
    """How many pods were wanted and were there, since `pods_made_at`."""
    pods_made_at: float = LONG_AGO
    settings: ConnectionSettings | None = None
    settings_error: Exception | None = None
    settings_at: float = LONG_AGO
    refused: bool = False
    """Redis refused these settings' credentials at the last sample."""

    def take(self, raw: dict[str, Any]) -> bool:
        """Remember the newest version, typed anew when its spec changed; whether it is another one."""
        if raw is self.raw:
            return False
        metadata = raw["metadata"]
        self.raw, self.memory = raw, replace(self.memory, looked_at=LONG_AGO)
        if self.rq is not None and self.rq.generation == metadata.get("generation"):
            self.rq = replace(self.rq, raw=raw, deletion=bool(metadata.get("deletionTimestamp")))
            return True
        try:
            self.rq, self.problem = parse(raw), ""
        except ValueError as error:
            self.rq, self.problem = None, str(error)
        self.settings_at = LONG_AGO
        return True


def stand_in(raw: dict[str, Any]) -> RedisQueue:
    """Who an unusable object is, for writing down why it is: its identity with the smallest spec there is.

    Where they can be read it has the requests of its workers, which run on and count.
    """
    smallest = {"redis": {"url": "redis://unused"}, "worker": {"handler": "unused:unused"}}
    spec = raw.get("spec")
    worker = spec.get("worker") if isinstance(spec, dict) else None
    parts = worker if isinstance(worker, dict) else {}
    requests = {name: parts[name] for name in ("resources", "template") if name in parts}
    with suppress(ValueError):
        whole = {**smallest, "worker": {**smallest["worker"], **requests}}
        return replace(parse({**raw, "spec": whole}), raw=raw)
    return replace(parse({**raw, "spec": smallest}), raw=raw)
