"""Beyond one message at a time: looking into a queue, redriving, repairing and emptying it. As flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from redis_message_queue import _bulk, envelope, options, validation
from redis_message_queue._queue import QueueFlows
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.redrive import Redrive, RedriveOptions, RedriveProgress
from redis_message_queue.repair import Repair, RepairReport
from redis_message_queue.stats import sample_call

if TYPE_CHECKING:
    from redis_message_queue._flow import Flow
    from redis_message_queue.messages import MessageData

PeekSource = Literal["pending", "processing", "completed", "failed", "dead_letter"]
PurgeTarget = Literal["pending", "completed", "failed", "dead_letter", "delayed"]
RedriveSource = Literal["dead_letter", "failed"]


class QueueStats(NamedTuple):
    """Numbers of messages. `delayed` counts what was published for later and is not pending yet."""

    pending: int
    processing: int
    completed: int
    failed: int
    dead_letter: int
    delayed: int


class AdminFlows(QueueFlows):
    """Operations that need the built-in gateway, because its contract has no name for them."""

    def _dead_letters(self) -> str:
        return self._gateway.dead_letter_queue or self.key.dead_letter

    # -- looking --

    def _stats(self) -> Flow[QueueStats]:
        gateway = self._built_in("stats()")
        numbers = yield from gateway._call(sample_call(self.key))  # noqa: SLF001
        dead = numbers.dead_letter
        if self._dead_letters() != self.key.dead_letter:
            dead = yield from gateway._command("llen", self._dead_letters())  # noqa: SLF001
        return QueueStats(
            numbers.pending, numbers.processing, numbers.completed, numbers.failed, dead, numbers.delayed
        )

    def _peek(self, count: int, source: PeekSource) -> Flow[list[MessageData]]:
        validation.check(count=count)
        key = self._list_named("source", source, get_args(PeekSource))
        call = _bulk.tail(key=key, count=count)
        entries: list[MessageData] = (yield from self._built_in("peek()")._call(call)).entries  # noqa: SLF001
        if source in ("pending", "processing"):
            return [envelope.decode(entry).payload for entry in entries]
        return entries

    def _list_named(self, argument: str, name: str, choices: tuple[str, ...]) -> str:
        if name not in choices:
            allowed = ", ".join(map(repr, choices))
            raise ConfigurationError(f"'{argument}' must be one of {allowed}, got {name!r}")
        return self._dead_letters() if name == "dead_letter" else str(getattr(self.key, name))

    # -- repairing --

    def _redrive(self, source: RedriveSource, **arguments: Any) -> Flow[RedriveProgress]:
        gateway = self._built_in("redrive()")
        key = self._list_named("source", source, get_args(RedriveSource))
        return (yield from Redrive(gateway, self.key, key, RedriveOptions(**arguments)).flow())

    def _repair(self, *, grace_seconds: float, dry_run: bool) -> Flow[RepairReport]:
        validation.check(grace_seconds=grace_seconds, dry_run=dry_run)
        gateway = self._built_in("repair()")
        lease = gateway.message_visibility_timeout_seconds or options.DEFAULT_VISIBILITY_TIMEOUT_SECONDS
        return (yield from Repair(gateway, self.key, lease, grace_seconds, dry_run).flow())

    def _purge(self, target: PurgeTarget) -> Flow[int]:
        key = self._list_named("target", target, get_args(PurgeTarget))
        gateway = self._built_in("purge()")
        call = _bulk.purge(
            key=key,
            record=self.key.leases.operation_result(envelope.new_id()),
            record_ttl_ms=gateway._options.replay_ttl_ms(0),  # noqa: SLF001
            delivery_counts=self.key.delivery_counts,
            notes=self.key.notes,
            delayed=target == "delayed",
            delivered=target in ("pending", "delayed"),
        )
        while True:
            done = yield from gateway._call_retrying(call)  # noqa: SLF001
            if done.entries is not None and not done.unfinished:
                return done.entries
