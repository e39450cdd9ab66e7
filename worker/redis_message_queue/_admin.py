"""Beyond one message at a time: many and delayed publishes, looking into a queue, repairing it. As flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from redis_message_queue import _bulk, envelope, options, validation
from redis_message_queue._gateway import GatewayFlows
from redis_message_queue._queue import QueueFlows
from redis_message_queue.exceptions import ConfigurationError, GatewayContractError
from redis_message_queue.keys import Marker
from redis_message_queue.redrive import Redrive, RedriveOptions, RedriveProgress
from redis_message_queue.repair import Repair, RepairReport
from redis_message_queue.stats import sample_call

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis_message_queue._effects import Flow
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

    def _built_in(self, what: str) -> GatewayFlows:
        if not isinstance(self._gateway, GatewayFlows):
            raise GatewayContractError(
                f"{what} needs the built-in RedisGateway, this queue has a {type(self._gateway).__name__}"
            )
        return self._gateway

    def _dead_letters(self) -> str:
        return self._gateway.dead_letter_queue or self.key.dead_letter

    # -- publishing --

    def _publish_all(
        self, messages: Iterable[str | dict[str, Any]], delay_seconds: float | None = None
    ) -> Flow[list[bool]]:
        """Publish in one go. Every message is checked before the first one is sent."""
        validation.check(delay_seconds=delay_seconds)
        if isinstance(messages, (str, bytes, dict)):
            raise TypeError(f"'messages' must be an iterable of messages, got {type(messages).__name__}")
        flags = yield from self._reporting_publish(lambda: self._enqueue_all(messages, delay_seconds))
        self._tell_suppressed(flags)
        return flags

    def _publish_one(
        self,
        message: str | dict[str, Any],
        delay_seconds: float | None,
        key: str | None = None,
        seconds: int | None = None,
    ) -> Flow[bool]:
        """Publish one message, in a round trip of the v7 kind unless it asks for more."""
        if delay_seconds is None and key is None and seconds is None:
            flags = yield from self._reporting_publish(lambda: self._enqueue(message))
        else:
            validation.check(
                delay_seconds=delay_seconds, deduplication_key=key, deduplication_seconds=seconds
            )
            self._check_deduplication(key, seconds)
            flags = yield from self._reporting_publish(
                lambda: self._enqueue_all([message], delay_seconds, key, seconds)
            )
        if key is None and not flags[0]:
            self._tell_suppressed(flags)
        return flags[0]

    def _check_deduplication(self, key: str | None, seconds: int | None) -> None:
        """Raise ConfigurationError for what one publish cannot ask of this queue."""
        if key is not None and self._options.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "'deduplication_key' cannot be combined with drop_oldest: publishing a dropped message again"
                " would be silently suppressed"
            )
        if seconds is not None and key is None and not self._options.deduplication:
            raise ConfigurationError(
                "'deduplication_seconds' needs something to know a repeat by: pass 'deduplication_key', or"
                " deduplication=True to the queue"
            )

    def _enqueue_all(
        self,
        messages: Iterable[str | dict[str, Any]],
        delay_seconds: float | None,
        key: str | None = None,
        seconds: int | None = None,
    ) -> Flow[list[bool]]:
        own = "publish_many()" if (key, seconds) == (None, None) else "a deduplication of one publish"
        gateway = self._built_in(own if delay_seconds is None else "publishing with a delay")
        messages = list(messages)
        texts = [self._limits.text(message) for message in messages]
        markers: list[str] | None = None
        if key is not None:
            markers = [Marker.of(self.key.deduplication(key), key)] * len(texts)
        elif self._options.deduplication:
            markers = []
            for message, text in zip(messages, texts, strict=True):
                markers.append((yield from self._marker(message, text)))
        target = self.key.pending if delay_seconds is None else self.key.delayed
        publish = gateway._publish_many(target, texts, markers, delay_seconds, seconds)  # noqa: SLF001
        if self._options.publish_timeout_seconds is None:
            return (yield from publish)
        flags: list[bool] = yield self._in_time(lambda: self._flavour.run(publish))
        return flags

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
