"""The settings of queues and gateways, and every rule between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from redis_message_queue.envelope import PayloadLimits, default_deduplication_key
from redis_message_queue.exceptions import ConfigurationError, GatewayContractError
from redis_message_queue.interrupt_handler import BaseGracefulInterruptHandler
from redis_message_queue.keys import QueueKeys
from redis_message_queue.validation import (
    LONGEST_DELAY_SECONDS,
    check,
    check_types,
    visibility_timeout_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import tenacity

    Check = Callable[[str, Any], None]

OverloadPolicy = Literal["raise", "drop_oldest", "block"]

DEFAULT_VISIBILITY_TIMEOUT_SECONDS = 300
# A handler that runs for longer than that without a lease is taken for gone by a repair.
DEFAULT_GRACE_SECONDS = 3600.0
_DEFAULT_HISTORY_LENGTH = 1000
_HISTORIES = ("completed", "failed")
_DEFAULT_DEDUPLICATION_TTL_SECONDS = 3600
_DEFAULT_WAIT_INTERVAL_SECONDS = 5
# A replay record must outlive every repeat of its call.
_REPLAY_MARGIN_SECONDS = 180


class GatewayProperties:
    """What a queue asks of any gateway; the defaults describe one without leases."""

    @property
    def is_redis_cluster(self) -> bool:
        """True if the keys of a queue must share a hash tag."""
        return False

    @property
    def message_visibility_timeout_seconds(self) -> int | None:
        """How long a lease lasts without renewal; None means claims carry no lease."""
        return None

    @property
    def max_delivery_count(self) -> int | None:
        """Deliveries of one message before it becomes a dead letter; None means no limit."""
        return None

    @property
    def dead_letter_queue(self) -> str | None:
        """The key dead letters go to."""
        return None


class _Options:
    """Arguments as attributes."""

    __slots__ = ()

    def _check(self, *names: str) -> None:
        check(**{name: getattr(self, name) for name in names})

    def _check_backpressure(self, *, deduplicates: bool = False) -> None:
        """Check the three backpressure arguments against each other and against what they exclude."""
        given: Any = self
        policy: str = given.pending_overload_policy
        self._check("max_pending_length")
        check_types(pending_overload_policy=policy)
        if policy not in get_args(OverloadPolicy):
            choices = ", ".join(map(repr, get_args(OverloadPolicy)))
            raise ConfigurationError(f"'pending_overload_policy' must be one of {choices}, got {policy!r}")
        self._check("pending_overload_block_timeout_seconds")
        if policy != "raise" and given.max_pending_length is None:
            raise ConfigurationError(
                f"pending_overload_policy={policy} requires max_pending_length to be set"
            )
        if policy != "drop_oldest":
            return
        if deduplicates:
            raise ConfigurationError(
                "drop_oldest cannot be combined with deduplication: publishing a dropped message again would"
                " be silently suppressed; pass deduplication=False"
            )
        if given.max_delivery_count is not None:
            raise ConfigurationError(
                "drop_oldest is incompatible with max_delivery_count: a dropped message never reaches the"
                " dead letters; pass max_delivery_count=None"
            )


# What a gateway has settings of its own for, and the values that nobody need have chosen.
_OF_THE_GATEWAY: Mapping[str, tuple[object, ...]] = {
    "interrupt": (None,),
    "visibility_timeout_seconds": (None, DEFAULT_VISIBILITY_TIMEOUT_SECONDS),
    "max_delivery_count": (None, 10),
    "max_pending_length": (None,),
    "pending_overload_policy": ("raise",),
    "pending_overload_block_timeout_seconds": (1.0,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOptions(_Options):
    """The constructor arguments of a queue."""

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
    pending_overload_policy: OverloadPolicy
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

    def validate(
        self, check_callback: Check, check_event_callback: Check, chosen: Collection[str] = ()
    ) -> None:
        """Check everything that does not depend on the gateway. Raises TypeError or ConfigurationError.

        `chosen`: the arguments that were given, be it their defaults.
        """
        self._check_name()
        self._check("deduplication", "enable_completed_queue", "enable_failed_queue")
        for kind in _HISTORIES:
            self._check_history(f"max_{kind}_length", f"enable_{kind}_queue", chosen)
        self._check("max_delivery_count", "visibility_timeout_seconds")
        check_callback("get_deduplication_key", self.get_deduplication_key)
        custom_key = self.get_deduplication_key not in (None, default_deduplication_key)
        self._check_backpressure(deduplicates=self.deduplication or custom_key)
        if custom_key and not self.deduplication:
            raise ConfigurationError(
                "'get_deduplication_key' cannot be provided when 'deduplication' is disabled"
            )
        check_callback("on_heartbeat_failure", self.on_heartbeat_failure)
        check_event_callback("on_event", self.on_event)
        self._check("max_payload_bytes", "max_payload_depth")
        self._check("strict_payload_types", "strict_envelope_decoding", "publish_timeout_seconds")
        most, waits = self.publish_timeout_seconds, self.pending_overload_block_timeout_seconds
        if most is not None and self.pending_overload_policy == "block" and waits >= most:
            raise ConfigurationError(
                f"'publish_timeout_seconds' {most!r} must be greater than"
                f" 'pending_overload_block_timeout_seconds' {waits!r}, or who waits for room would be told"
                " that Redis is away"
            )

    def _check_name(self) -> None:
        self._check("name", "key_separator")
        if "\x00" in self.name:
            raise ConfigurationError(
                "'name' must not contain null bytes: many tools end a key there; use another character"
            )
        if self.key_separator in self.name:
            raise ConfigurationError(
                f"'name' {self.name!r} must not contain the key separator {self.key_separator!r};"
                " rename the queue or pass another 'key_separator'"
            )

    def with_histories(self, chosen: Collection[str]) -> QueueOptions:
        """The same with those histories on of which the length alone was given, as versions 8 to 11 spell it.

        0 keeps nothing, None any number.
        """
        kinds = [kind for kind in _HISTORIES if f"max_{kind}_length" in chosen]
        found = {f"enable_{kind}_queue": getattr(self, f"max_{kind}_length") != 0 for kind in kinds}
        found = {flag: is_on for flag, is_on in found.items() if flag not in chosen}
        return replace(self, **found) if found else self

    def _check_history(self, length: str, flag: str, chosen: Collection[str]) -> None:
        """Check the cap of a history list, and that its two spellings do not contradict each other."""
        self._check(length)
        most, is_on = getattr(self, length), getattr(self, flag)
        if is_on and most == 0:
            raise ConfigurationError(f"'{length}' must be positive with '{flag}=True', got 0; leave one out")
        if flag in chosen and not is_on and most not in (None, 0, _DEFAULT_HISTORY_LENGTH):
            raise ConfigurationError(f"'{length}' requires '{flag}=True'; or leave '{flag}' out")

    def _check_heartbeat(self, lease_seconds: int | None, *, without_lease: str) -> None:
        interval = self.heartbeat_interval_seconds
        self._check("heartbeat_interval_seconds")
        if interval is None:
            return
        if lease_seconds is None:
            raise ConfigurationError(f"'heartbeat_interval_seconds' requires {without_lease}")
        if interval >= lease_seconds / 2:
            raise ConfigurationError(
                f"'heartbeat_interval_seconds' must be less than half of the visibility timeout"
                f" ({lease_seconds} s), so that one renewal may fail; got {interval!r}"
            )

    def check_heartbeat_callback(self) -> None:
        """A failure callback needs a heartbeat that can fail; checked last."""
        if self.on_heartbeat_failure is not None and self.heartbeat_interval_seconds is None:
            raise ConfigurationError("'on_heartbeat_failure' requires 'heartbeat_interval_seconds'")

    def check_one_publish(self, key: str | None, seconds: int | None) -> None:
        """Raise ConfigurationError for a deduplication that one publish cannot ask of this queue."""
        if key is not None and self.pending_overload_policy == "drop_oldest":
            raise ConfigurationError(
                "'deduplication_key' cannot be combined with drop_oldest: publishing a dropped message again"
                " would be silently suppressed"
            )
        if seconds is not None and key is None and not self.deduplication:
            raise ConfigurationError(
                "'deduplication_seconds' needs something to know a repeat by: pass 'deduplication_key', or"
                " deduplication=True to the queue"
            )

    def check_own_client(self) -> None:
        """Rules of the `client=` way, where the queue builds its gateway."""
        lease_seconds = self.visibility_timeout_seconds
        self._check_heartbeat(lease_seconds, without_lease="'visibility_timeout_seconds'")
        if self.max_delivery_count is not None and lease_seconds is None:
            raise ConfigurationError(
                "'max_delivery_count' requires 'visibility_timeout_seconds'; for at-most-once delivery pass"
                " max_delivery_count=None too"
            )

    def check_gateway(
        self, gateway: object, client: object, kind: type[GatewayProperties], other_package: str
    ) -> int | None:
        """Rules of the `gateway=` way; returns the gateway's visibility timeout."""
        given = ["client"] * (client is not None)
        given += [name for name, free in _OF_THE_GATEWAY.items() if getattr(self, name) not in free]
        if given:
            raise ConfigurationError(
                f"'{given[0]}' cannot be provided alongside 'gateway'; configure it on the gateway"
            )
        if not isinstance(gateway, kind):
            hint = ""
            if isinstance(gateway, GatewayProperties):
                hint = f" of this package; this one belongs to {other_package}"
            raise GatewayContractError(
                f"'gateway' must be an AbstractRedisGateway{hint}, got {type(gateway).__name__}"
            )
        timeout = visibility_timeout_of(gateway)
        self._check_heartbeat(
            timeout,
            without_lease="a gateway with a configured visibility timeout: it must expose"
            " 'message_visibility_timeout_seconds' with a value",
        )
        if gateway.dead_letter_queue in (self.keys.pending, self.keys.processing):
            raise ConfigurationError(
                f"the gateway's 'dead_letter_queue' {gateway.dead_letter_queue!r} is a working list of this"
                " queue; dead letters would be delivered again"
            )
        self._bind(gateway)
        return timeout

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions(_Options):
    """The constructor arguments of a gateway, checked in their documented order."""

    interrupt: BaseGracefulInterruptHandler | None
    message_deduplication_log_ttl_seconds: int | None
    message_wait_interval_seconds: int | None
    message_visibility_timeout_seconds: int | None
    retry_budget_seconds: int
    retry_max_delay_seconds: float
    retry_initial_delay_seconds: float
    max_delivery_count: int | None
    dead_letter_queue: str | None
    max_pending_length: int | None
    pending_overload_policy: OverloadPolicy
    pending_overload_block_timeout_seconds: float

    def __post_init__(self) -> None:
        """Raise TypeError or ConfigurationError naming the argument."""
        if self.interrupt is not None and not isinstance(self.interrupt, BaseGracefulInterruptHandler):
            raise TypeError(
                f"'interrupt' must be a BaseGracefulInterruptHandler, got {type(self.interrupt).__name__}"
            )
        waits = ("message_deduplication_log_ttl_seconds", "message_wait_interval_seconds")
        check_types(**{name: getattr(self, name) for name in waits})
        self._check(*waits, "message_visibility_timeout_seconds", "retry_budget_seconds")
        self._check("retry_max_delay_seconds", "retry_initial_delay_seconds")
        if self.retry_initial_delay_seconds > self.retry_max_delay_seconds:
            raise ConfigurationError(
                "'retry_initial_delay_seconds' must not be greater than 'retry_max_delay_seconds'"
            )
        self._check_dead_letters()
        self._check_backpressure()

    def _check_dead_letters(self) -> None:
        self._check("max_delivery_count", "dead_letter_queue")
        if self.dead_letter_queue and not self.dead_letter_queue.strip():
            raise ConfigurationError("'dead_letter_queue' must not be blank")
        if self.max_delivery_count is not None:
            if self.message_visibility_timeout_seconds is None:
                raise ConfigurationError("'max_delivery_count' requires 'message_visibility_timeout_seconds'")
            if not self.dead_letter_queue:
                raise ConfigurationError("'dead_letter_queue' is required with 'max_delivery_count'")
        elif self.dead_letter_queue:
            raise ConfigurationError("'max_delivery_count' is required with 'dead_letter_queue'")

    @property
    def deduplication_ttl_seconds(self) -> int:
        """How long a deduplication marker lasts."""
        return self.message_deduplication_log_ttl_seconds or _DEFAULT_DEDUPLICATION_TTL_SECONDS

    @property
    def wait_interval_seconds(self) -> int:
        """How long one claim waits; 0 means one attempt."""
        wait = self.message_wait_interval_seconds
        return _DEFAULT_WAIT_INTERVAL_SECONDS if wait is None else min(wait, LONGEST_DELAY_SECONDS)

    def retrying(self) -> tenacity.Retrying:
        """Compose tenacity's parts. Costs more than a round trip, so it is done after a first failure."""
        import tenacity  # noqa: PLC0415 - as late

        return tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.retry_budget_seconds),
            wait=tenacity.wait_exponential(
                multiplier=self.retry_initial_delay_seconds, max=self.retry_max_delay_seconds
            )
            + tenacity.wait_random(0, 0.1),
        )

    def replay_ttl_ms(self, at_least_seconds: int) -> int:
        """How long the server remembers what one call answered."""
        seconds = max(at_least_seconds, self.retry_budget_seconds + _REPLAY_MARGIN_SECONDS)
        return min(seconds, LONGEST_DELAY_SECONDS) * 1000
