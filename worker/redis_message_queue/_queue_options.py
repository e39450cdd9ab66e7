"""The settings of one queue object and every rule between them."""

from __future__ import annotations

import asyncio
import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis_message_queue import options
from redis_message_queue._abstract_gateway import GatewayProperties
from redis_message_queue._callbacks import (
    WrongHandlerError,
    call_awaited,
    call_either,
    call_plain,
)
from redis_message_queue._effects import Flow, run, run_async, within_task, within_thread
from redis_message_queue._patience import in_task, in_thread
from redis_message_queue._payload import PayloadLimits, default_deduplication_key
from redis_message_queue.exceptions import ConfigurationError, GatewayContractError
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler

_EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit, WrongHandlerError)


def _cancelled_from_outside(error: BaseException) -> bool:
    if isinstance(error, _EXITS):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between the two faces, as data."""

    gateway_class: type[GatewayProperties]
    run: Callable[[Flow[Any]], Any]
    other_package: str
    check_event_callback: Callable[[str, Any], None]
    check_plain_callback: Callable[[str, Any], None]
    call_event: Callable[..., Any]
    call_plain: Callable[..., Any]
    call_key: Callable[..., Any]
    caller: Callable[[], object]
    within: Callable[[float | None, Callable[[], Any]], Any]
    """Performs an action for at most so many seconds; None if it took longer, 0 does not interrupt it."""
    in_time: Callable[[float, Callable[[], Any]], Any]
    """Performs an action; raises RetryBudgetExhaustedError when it takes longer than so many seconds."""
    aborts: Callable[[BaseException], bool]
    """True for what ends the work without settling it: an exit, or a cancellation from outside."""


def sync_flavour(gateway_class: type[GatewayProperties]) -> Flavour:
    """The rules of the thread-based face."""
    return Flavour(
        gateway_class=gateway_class,
        run=run,
        other_package="redis_message_queue.asyncio",
        check_event_callback=options.check_sync_callable,
        check_plain_callback=options.check_sync_callable,
        call_event=call_plain,
        call_plain=call_plain,
        call_key=functools.partial(call_plain, name="'get_deduplication_key'"),
        caller=threading.get_ident,
        within=within_thread,
        in_time=in_thread,
        aborts=lambda error: isinstance(error, _EXITS),
    )


def async_flavour(gateway_class: type[GatewayProperties]) -> Flavour:
    """The rules of the asyncio face."""
    return Flavour(
        gateway_class=gateway_class,
        run=run_async,
        other_package="redis_message_queue",
        check_event_callback=options.check_async_callable,
        check_plain_callback=lambda name, value: options.check_types(**{name: value}),
        call_event=call_awaited,
        call_plain=call_either,
        call_key=call_either,
        caller=asyncio.current_task,
        within=within_task,
        in_time=in_task,
        aborts=_cancelled_from_outside,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions:
    """The constructor arguments of a queue, in the order they are checked."""

    name: str
    key_separator: str
    deduplication: bool
    enable_completed_queue: bool
    enable_failed_queue: bool
    max_completed_length: int | None
    max_failed_length: int | None
    max_delivery_count: int | None
    visibility_timeout_seconds: int | None
    get_deduplication_key: Callable[[Any], Any] | None
    max_pending_length: int | None
    pending_overload_policy: options.OverloadPolicy
    pending_overload_block_timeout_seconds: float
    on_heartbeat_failure: Callable[[], Any] | None
    on_event: Callable[[Any], Any] | None
    heartbeat_interval_seconds: float | None
    interrupt: BaseGracefulInterruptHandler | None
    max_payload_bytes: int | None
    max_payload_depth: int | None
    strict_payload_types: bool
    strict_envelope_decoding: bool
    publish_timeout_seconds: float | None

    @property
    def keys(self) -> QueueKeys:
        """The key names of this queue."""
        return QueueKeys(self.name, self.key_separator)

    @property
    def limits(self) -> PayloadLimits:
        """The bounds on payloads."""
        return PayloadLimits(self.max_payload_bytes, self.max_payload_depth, self.strict_payload_types)

    def validate(self, flavour: Flavour) -> None:
        """Check everything that does not depend on the gateway. Raises TypeError or ConfigurationError."""
        options.check_name(self.name, self.key_separator)
        options.check(
            deduplication=self.deduplication,
            enable_completed_queue=self.enable_completed_queue,
            enable_failed_queue=self.enable_failed_queue,
        )
        options.check_history(
            "max_completed_length",
            self.max_completed_length,
            "enable_completed_queue",
            self.enable_completed_queue,
        )
        options.check_history(
            "max_failed_length", self.max_failed_length, "enable_failed_queue", self.enable_failed_queue
        )
        options.check(
            max_delivery_count=self.max_delivery_count,
            visibility_timeout_seconds=self.visibility_timeout_seconds,
        )
        flavour.check_plain_callback("get_deduplication_key", self.get_deduplication_key)
        custom_key = self.get_deduplication_key not in (None, default_deduplication_key)
        options.check_backpressure(
            self.max_pending_length,
            self.pending_overload_policy,
            self.pending_overload_block_timeout_seconds,
            max_delivery_count=self.max_delivery_count,
            deduplicates=self.deduplication or custom_key,
        )
        if custom_key and not self.deduplication:
            raise ConfigurationError(
                "'get_deduplication_key' cannot be provided when 'deduplication' is disabled"
            )
        flavour.check_plain_callback("on_heartbeat_failure", self.on_heartbeat_failure)
        flavour.check_event_callback("on_event", self.on_event)
        options.check(
            max_payload_bytes=self.max_payload_bytes,
            max_payload_depth=self.max_payload_depth,
            strict_payload_types=self.strict_payload_types,
            strict_envelope_decoding=self.strict_envelope_decoding,
        )
        self._check_publish_timeout()

    def _check_publish_timeout(self) -> None:
        options.check(publish_timeout_seconds=self.publish_timeout_seconds)
        most, waits = self.publish_timeout_seconds, self.pending_overload_block_timeout_seconds
        if most is not None and self.pending_overload_policy == "block" and waits >= most:
            raise ConfigurationError(
                f"'publish_timeout_seconds' {most!r} must be greater than"
                f" 'pending_overload_block_timeout_seconds' {waits!r}, or who waits for room would be told"
                " that Redis is away"
            )

    def check_heartbeat_callback(self) -> None:
        """A failure callback needs a heartbeat that can fail; checked last."""
        if self.on_heartbeat_failure is not None and self.heartbeat_interval_seconds is None:
            raise ConfigurationError("'on_heartbeat_failure' requires 'heartbeat_interval_seconds'")

    def check_own_client(self) -> None:
        """Rules of the `client=` way, where the queue builds its gateway."""
        options.check_heartbeat(
            self.heartbeat_interval_seconds,
            self.visibility_timeout_seconds,
            without_timeout="'heartbeat_interval_seconds' requires 'visibility_timeout_seconds'",
        )
        if self.max_delivery_count is not None and self.visibility_timeout_seconds is None:
            raise ConfigurationError(
                "'max_delivery_count' requires 'visibility_timeout_seconds'; for at-most-once delivery pass"
                " max_delivery_count=None too"
            )

    def check_gateway(self, gateway: object, client: object, flavour: Flavour) -> int | None:
        """Rules of the `gateway=` way; returns the gateway's visibility timeout."""
        self._check_alone(client)
        if not isinstance(gateway, flavour.gateway_class):
            hint = ""
            if isinstance(gateway, GatewayProperties):
                hint = f" of this package; this one belongs to {flavour.other_package}"
            raise GatewayContractError(
                f"'gateway' must be an AbstractRedisGateway{hint}, got {type(gateway).__name__}"
            )
        timeout = _visibility_timeout(gateway)
        options.check_heartbeat(
            self.heartbeat_interval_seconds,
            timeout,
            without_timeout="'heartbeat_interval_seconds' requires a gateway with a configured visibility"
            " timeout: it must expose 'message_visibility_timeout_seconds' with a value",
        )
        if gateway.dead_letter_queue in (self.keys.pending, self.keys.processing):
            raise ConfigurationError(
                f"the gateway's 'dead_letter_queue' {gateway.dead_letter_queue!r} is a working list of this"
                " queue; dead letters would be delivered again"
            )
        self._bind(gateway)
        return timeout

    def _check_alone(self, client: object) -> None:
        foreign = {
            "client": client is not None,
            "interrupt": self.interrupt is not None,
            "visibility_timeout_seconds": self.visibility_timeout_seconds
            not in (None, options.DEFAULT_VISIBILITY_TIMEOUT_SECONDS),
            "max_delivery_count": self.max_delivery_count not in (None, options.DEFAULT_DELIVERY_COUNT),
            "max_pending_length": self.max_pending_length is not None,
            "pending_overload_policy": self.pending_overload_policy != "raise",
            "pending_overload_block_timeout_seconds": self.pending_overload_block_timeout_seconds
            != options.DEFAULT_BLOCK_TIMEOUT_SECONDS,
        }
        given = [name for name, present in foreign.items() if present]
        if given:
            raise ConfigurationError(
                f"'{given[0]}' cannot be provided alongside 'gateway'; configure it on the gateway"
            )

    def _bind(self, gateway: Any) -> None:
        """Delivery counts and dead letters belong to one queue: refuse a gateway that serves another one."""
        if gateway.max_delivery_count is None:
            return
        bound = getattr(gateway, "_rmq_bound_pending_queue", None)
        if bound not in (None, self.keys.pending):
            raise ConfigurationError(
                f"a gateway with 'max_delivery_count' cannot be reused across different queues;"
                f" this one serves {bound!r}"
            )
        gateway._rmq_bound_pending_queue = self.keys.pending  # noqa: SLF001 - the documented name


def _visibility_timeout(gateway: object) -> int | None:
    value = getattr(gateway, "message_visibility_timeout_seconds", None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise GatewayContractError(
            f"the gateway's 'message_visibility_timeout_seconds' must be an int or None,"
            f" got {type(value).__name__}"
        )
    if value <= 0:
        raise ConfigurationError(
            f"the gateway's 'message_visibility_timeout_seconds' must be positive, got {value!r}"
        )
    return value
