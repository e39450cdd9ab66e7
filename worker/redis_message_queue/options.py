"""Validation of constructor arguments: one table, one interpreter, and the few rules between arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from redis_message_queue._callbacks import is_async_callable, promises_awaitable
from redis_message_queue.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
OverloadPolicy = Literal["raise", "drop_oldest", "block"]

DEFAULT_HISTORY_LENGTH = 1000
DEFAULT_DELIVERY_COUNT = 10
DEFAULT_VISIBILITY_TIMEOUT_SECONDS = 300
DEFAULT_BLOCK_TIMEOUT_SECONDS = 1.0
# Ten years: far beyond any plan, and far within what servers can count in milliseconds.
LONGEST_DELAY_SECONDS = 10 * 365 * 24 * 3600
# Of a list that is kept: what the servers' scripts still count exactly.
MOST_KEPT = 10**9
# A handler that runs for longer than that without a lease is taken for gone by a repair.
DEFAULT_GRACE_SECONDS = 3600.0


# A type as the library means it, by the words that name it in an error: no bool passes for a number.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "an int": (int,),
    "a number": (int, float),
    "a bool": (bool,),
    "a string": (str,),
    "a str": (str,),
}


def _is(kind: str, value: object) -> bool:
    if kind == "callable":
        return callable(value)
    return isinstance(value, _KINDS[kind]) and (kind == "a bool" or not isinstance(value, bool))


@dataclass(frozen=True, slots=True)
class Rule:
    """What one argument may be.

    `above` and `least` are the exclusive and the inclusive lower bound, `most` is the inclusive upper one.
    """

    kind: str
    optional: bool = False
    above: float | None = None
    least: float | None = None
    most: float | None = None
    blank: bool = True


RULES: Mapping[str, Rule] = {
    "name": Rule("a string", blank=False),
    "key_separator": Rule("a string", blank=False),
    "deduplication": Rule("a bool"),
    "enable_completed_queue": Rule("a bool"),
    "enable_failed_queue": Rule("a bool"),
    "max_completed_length": Rule("an int", optional=True, above=0),
    "max_failed_length": Rule("an int", optional=True, above=0),
    "max_delivery_count": Rule("an int", optional=True, above=0),
    "visibility_timeout_seconds": Rule("an int", optional=True, above=0, most=LONGEST_DELAY_SECONDS),
    "get_deduplication_key": Rule("callable", optional=True),
    "max_pending_length": Rule("an int", optional=True, above=0),
    "pending_overload_policy": Rule("a str"),
    "pending_overload_block_timeout_seconds": Rule("a number", least=0),
    "on_heartbeat_failure": Rule("callable", optional=True),
    "on_event": Rule("callable", optional=True),
    "heartbeat_interval_seconds": Rule("a number", optional=True, above=0),
    "max_payload_bytes": Rule("an int", optional=True, above=0),
    "max_payload_depth": Rule("an int", optional=True, above=0),
    "strict_payload_types": Rule("a bool"),
    "strict_envelope_decoding": Rule("a bool"),
    "publish_timeout_seconds": Rule("a number", optional=True, above=0, most=LONGEST_DELAY_SECONDS),
    # Gateway
    "message_deduplication_log_ttl_seconds": Rule(
        "an int", optional=True, above=0, most=LONGEST_DELAY_SECONDS
    ),
    "message_wait_interval_seconds": Rule("an int", optional=True, least=0),
    "message_visibility_timeout_seconds": Rule("an int", optional=True, above=0, most=LONGEST_DELAY_SECONDS),
    "retry_budget_seconds": Rule("an int", least=0),
    "retry_max_delay_seconds": Rule("a number", above=0),
    "retry_initial_delay_seconds": Rule("a number", above=0),
    "dead_letter_queue": Rule("a str", optional=True),
    # Calls
    "timeout": Rule("a number", optional=True),
    "delay_seconds": Rule("a number", optional=True, least=0, most=LONGEST_DELAY_SECONDS),
    "deduplication_key": Rule("a str", optional=True, blank=False),
    "deduplication_seconds": Rule("an int", optional=True, above=0, most=LONGEST_DELAY_SECONDS),
    "count": Rule("an int", above=0),
    "max_messages": Rule("an int", optional=True, above=0),
    "per_second": Rule("a number", optional=True, above=0),
    "match": Rule("callable", optional=True),
    "dry_run": Rule("a bool"),
    "grace_seconds": Rule("a number", above=0, most=LONGEST_DELAY_SECONDS),
    "record": Rule("a str", optional=True, blank=False),
    "on_progress": Rule("callable", optional=True),
}


def picked(kind: type[T], arguments: Mapping[str, Any]) -> T:
    """A dataclass of options from a constructor's arguments, by their names."""
    return kind(**{field.name: arguments[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def check_types(**values: object) -> None:
    """Raise TypeError naming the first argument whose type is wrong."""
    for name, value in values.items():
        rule = RULES[name]
        if (rule.optional and value is None) or _is(rule.kind, value):
            continue
        wanted = rule.kind + (" or None" if rule.optional else "")
        raise TypeError(f"'{name}' must be {wanted}, got {type(value).__name__}")


def check_ranges(**values: object) -> None:
    """Raise ConfigurationError naming the first argument whose value is out of range."""
    for name, value in values.items():
        rule = RULES[name]
        if isinstance(value, str):
            if not rule.blank and not value.strip():
                raise ConfigurationError(f"'{name}' must be a non-empty string, got {value!r}")
        elif isinstance(value, (int, float)):
            _check_number(name, value, rule)


def _check_number(name: str, value: float, rule: Rule) -> None:
    bounded = rule.above is not None or rule.least is not None
    if bounded and not _is_finite(value):
        raise ConfigurationError(f"'{name}' must be a finite number, got {shown(value)}")
    if rule.above is not None and value <= rule.above:
        raise ConfigurationError(f"'{name}' must be positive, got {shown(value)}")
    if rule.least is not None and value < rule.least:
        raise ConfigurationError(f"'{name}' must not be below {rule.least:g}, got {shown(value)}")
    if rule.most is not None and value > rule.most:
        raise ConfigurationError(f"'{name}' must not be above {rule.most}, got {shown(value)}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond all floats
        return False


def shown(value: float) -> str:
    """Its text; Python refuses to write an int of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an int of {value.bit_length()} bits"
    return repr(value)


def check(**values: object) -> None:
    """Check type, then range, of each argument in the order given."""
    for name, value in values.items():
        check_types(**{name: value})
        check_ranges(**{name: value})


def check_name(name: str, key_separator: str) -> None:
    """Check the queue's name together with the separator of its keys."""
    check(name=name, key_separator=key_separator)
    if "\x00" in name:
        raise ConfigurationError(
            "'name' must not contain null bytes: many tools end a key there; use another character"
        )
    if key_separator in name:
        raise ConfigurationError(
            f"'name' {name!r} must not contain the key separator {key_separator!r};"
            " rename the queue or pass another 'key_separator'"
        )


def check_history(max_length_name: str, max_length: int | None, flag_name: str, enabled: bool) -> None:
    """Check the cap of a history list; a cap of our own choice makes sense only with the list enabled."""
    check(**{max_length_name: max_length})
    if not enabled and max_length not in (None, DEFAULT_HISTORY_LENGTH):
        raise ConfigurationError(f"'{max_length_name}' requires '{flag_name}=True'")


def check_backpressure(
    max_pending_length: int | None,
    policy: str,
    block_timeout_seconds: float,
    *,
    max_delivery_count: int | None,
    deduplicates: bool = False,
) -> None:
    """Check the three backpressure arguments against each other and against what they exclude."""
    check(max_pending_length=max_pending_length)
    check_types(pending_overload_policy=policy)
    if policy not in get_args(OverloadPolicy):
        choices = ", ".join(map(repr, get_args(OverloadPolicy)))
        raise ConfigurationError(f"'pending_overload_policy' must be one of {choices}, got {policy!r}")
    check(pending_overload_block_timeout_seconds=block_timeout_seconds)
    if policy != "raise" and max_pending_length is None:
        raise ConfigurationError(f"pending_overload_policy={policy} requires max_pending_length to be set")
    if policy != "drop_oldest":
        return
    if deduplicates:
        raise ConfigurationError(
            "drop_oldest cannot be combined with deduplication: publishing a dropped message again would be"
            " silently suppressed; pass deduplication=False"
        )
    if max_delivery_count is not None:
        raise ConfigurationError(
            "drop_oldest is incompatible with max_delivery_count: a dropped message never reaches the dead"
            " letters; pass max_delivery_count=None"
        )


def check_heartbeat(
    interval: float | None, visibility_timeout_seconds: int | None, *, without_timeout: str
) -> None:
    """Check the renewal interval against the lease; `without_timeout` is the error when there is no lease."""
    check(heartbeat_interval_seconds=interval)
    if interval is None:
        return
    if visibility_timeout_seconds is None:
        raise ConfigurationError(without_timeout)
    if interval >= visibility_timeout_seconds / 2:
        raise ConfigurationError(
            f"'heartbeat_interval_seconds' must be less than half of the visibility timeout"
            f" ({visibility_timeout_seconds} s), so that one renewal may fail; got {interval!r}"
        )


def check_sync_callable(name: str, value: Callable[..., object] | None) -> None:
    """Check an optional callback of the sync flavour: it must not be async."""
    check_types(**{name: value})
    if value is not None and is_async_callable(value):
        raise TypeError(f"'{name}' is an async callable; use it with the async RedisMessageQueue")


def check_async_callable(name: str, value: Callable[..., object] | None) -> None:
    """Check an optional callback of the async flavour that must give an awaitable."""
    check_types(**{name: value})
    if value is not None and not promises_awaitable(value):
        raise TypeError(f"'{name}' must be an async callable; the sync RedisMessageQueue takes plain ones")
