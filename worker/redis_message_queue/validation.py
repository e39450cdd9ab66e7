"""What one argument may be: one table and its interpreter. `options` has the rules between arguments."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from redis_message_queue._callbacks import is_async_callable, promises_awaitable
from redis_message_queue.exceptions import ConfigurationError, GatewayContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import DataclassInstance

T = TypeVar("T")
P = ParamSpec("P")

# Ten years: far beyond any plan, and far within what servers can count in milliseconds.
LONGEST_DELAY_SECONDS = 10 * 365 * 24 * 3600
# Of a list that is kept: what the servers' scripts still count exactly.
MOST_KEPT = 10**9
# What a server can count.
_MOST_OF_SERVER = 2**63 - 1

# A type as the library means it, by the words that name it in an error: no bool passes for a number.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "an int": (int,),
    "a number": (int, float),
    "a bool": (bool,),
    "a string": (str,),
    "a str": (str,),
    "a datetime": (datetime,),
}


class Rule(NamedTuple):
    """What one argument may be.

    `above` and `least` are the exclusive and the inclusive lower bound, `most` is the inclusive upper one.
    `utf8`: a text that the server is sent as it is, as a part of a key's name.
    """

    kind: str
    optional: bool = False
    above: float | None = None
    least: float | None = None
    most: float | None = None
    blank: bool = True
    utf8: bool = False

    def allows_type_of(self, value: object) -> bool:
        """Whether the value has the right type."""
        if value is None:
            return self.optional
        if self.kind == "callable":
            return callable(value)
        return isinstance(value, _KINDS[self.kind]) and (self.kind == "a bool" or not isinstance(value, bool))


_FLAG, _CALLBACK = Rule("a bool"), Rule("callable", optional=True)
_LIMIT = Rule("an int", optional=True, above=0)
_KEPT = Rule("an int", optional=True, least=0, most=_MOST_OF_SERVER)
_KEPT_BY_WORKER = Rule("an int", least=0, most=MOST_KEPT)
_WHOLE_SECONDS = Rule("an int", optional=True, above=0, most=LONGEST_DELAY_SECONDS)

DELAY = Rule("a number", least=0, most=LONGEST_DELAY_SECONDS)
# How long a lease of a consumer lasts; a queue counts whole seconds.
LEASE = Rule("a number", above=0, most=LONGEST_DELAY_SECONDS)

RULES: Mapping[str, Rule] = {
    "name": Rule("a string", blank=False, utf8=True),
    "key_separator": Rule("a string", blank=False, utf8=True),
    "deduplication": _FLAG,
    "enable_completed_queue": _FLAG,
    "enable_failed_queue": _FLAG,
    "max_completed_length": _KEPT,
    "max_failed_length": _KEPT,
    "max_delivery_count": _LIMIT,
    "visibility_timeout_seconds": _WHOLE_SECONDS,
    "get_deduplication_key": _CALLBACK,
    "max_pending_length": _LIMIT,
    "pending_overload_policy": Rule("a str"),
    "pending_overload_block_timeout_seconds": Rule("a number", least=0),
    "on_heartbeat_failure": _CALLBACK,
    "on_event": _CALLBACK,
    "heartbeat_interval_seconds": Rule("a number", optional=True, above=0),
    "max_payload_bytes": _LIMIT,
    "max_payload_depth": _LIMIT,
    "strict_payload_types": _FLAG,
    "strict_envelope_decoding": _FLAG,
    "publish_timeout_seconds": Rule("a number", optional=True, above=0, most=LONGEST_DELAY_SECONDS),
    # Gateway
    "message_deduplication_log_ttl_seconds": _WHOLE_SECONDS,
    "message_wait_interval_seconds": Rule("an int", optional=True, least=0),
    "message_visibility_timeout_seconds": _WHOLE_SECONDS,
    "retry_budget_seconds": Rule("an int", least=0),
    "retry_max_delay_seconds": Rule("a number", above=0),
    "retry_initial_delay_seconds": Rule("a number", above=0),
    "dead_letter_queue": Rule("a str", optional=True, utf8=True),
    # Calls
    "timeout": Rule("a number", optional=True),
    "delay_seconds": DELAY._replace(optional=True),
    "deduplication_key": Rule("a str", optional=True, blank=False, utf8=True),
    "deduplication_seconds": _WHOLE_SECONDS,
    "at": Rule("a datetime", optional=True),
    "at_front": _FLAG,
    "timeout_seconds": Rule("a number", least=0, most=LONGEST_DELAY_SECONDS),
    "message_id": Rule("a str", optional=True, blank=False),
    "priority": Rule("a str"),
    "limit_key": Rule("a str", optional=True, blank=False),
    "rate_per_second": Rule("a number", optional=True, above=0, most=10**6),
    "rate_burst": Rule("an int", optional=True, above=0, most=10**6),
    "max_in_flight": Rule("an int", optional=True, above=0, most=10**6),
    "count": Rule("an int", above=0, most=_MOST_OF_SERVER),
    "start": Rule("an int", least=0, most=_MOST_OF_SERVER),
    "max_messages": _LIMIT,
    "per_second": Rule("a number", optional=True, above=0, least=1 / LONGEST_DELAY_SECONDS),
    "match": _CALLBACK,
    "make_room": _CALLBACK,
    "dry_run": _FLAG,
    "grace_seconds": Rule("a number", above=0, most=LONGEST_DELAY_SECONDS),
    "record": Rule("a str", optional=True, blank=False, utf8=True),
    "on_progress": _CALLBACK,
    # Consumers
    "keep_completed": _KEPT_BY_WORKER,
    "keep_failed": _KEPT_BY_WORKER,
    "keep_dead_letter_info": _KEPT_BY_WORKER,
    "results_ttl_seconds": Rule("a number", least=0, most=LONGEST_DELAY_SECONDS),
    "claim": Rule("an int", most=MOST_KEPT),
    "id": Rule("a str", blank=False, utf8=True),
    "slots": Rule("an int", least=0, most=MOST_KEPT),
    "pod_uid": Rule("a str"),
    "owner_uid": Rule("a str"),
    "config_hash": Rule("a str", utf8=True),
    "instance": Rule("a str", utf8=True),
    "reason": Rule("a str"),
    "detail": Rule("a str"),
    "result": Rule("a str"),
    "failed": _FLAG,
}


def check(**values: object) -> None:
    """Check type, then range, of each argument in the order given."""
    for name, value in values.items():
        check_by(RULES[name], name, value)


def check_by(rule: Rule, name: str, value: object) -> None:
    """Check type, then range, of an argument by a rule of its own."""
    _check_type(rule, name, value)
    _check_range(rule, name, value)


def check_fields(options: DataclassInstance) -> None:
    """Check type, then range, of each field."""
    check(**{field.name: getattr(options, field.name) for field in fields(options)})


def check_types(**values: object) -> None:
    """Raise TypeError naming the first argument whose type is wrong."""
    for name, value in values.items():
        _check_type(RULES[name], name, value)


def _check_type(rule: Rule, name: str, value: object) -> None:
    if not rule.allows_type_of(value):
        wanted = rule.kind + (" or None" if rule.optional else "")
        raise TypeError(f"'{name}' must be {wanted}, got {type(value).__name__}")


def check_ranges(**values: object) -> None:
    """Raise ConfigurationError naming the first argument whose value is out of range."""
    for name, value in values.items():
        _check_range(RULES[name], name, value)


def _check_range(rule: Rule, name: str, value: object) -> None:
    if isinstance(value, str):
        if not rule.blank and not value.strip():
            raise ConfigurationError(f"'{name}' must be a non-empty string, got {value!r}")
        if rule.utf8 and not is_utf8(value):
            raise ConfigurationError(
                f"'{name}' must be a text that UTF-8 can say, got {value!r}; decode bytes by what they were"
                " encoded in"
            )
    elif isinstance(value, (int, float)) and (wanted := _out_of_range(value, rule)):
        raise ConfigurationError(f"'{name}' must {wanted}, got {shown(value)}")


def is_utf8(text: str) -> bool:
    """Whether it can be sent: a lone surrogate, which stands for a byte that was none, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_kind(kind: type, **values: object) -> None:
    """Raise TypeError naming the first that is neither of this type nor None."""
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"'{name}' must be a {kind.__name__} or None, got {type(value).__name__}")


def iterable(name: str, value: Any, of: str) -> list[Any]:
    """What an argument that stands for several holds. Raises TypeError for one that does not."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"'{name}' must be an iterable of {of}, got {type(value).__name__}")
    return [*value]


def _out_of_range(value: float, rule: Rule) -> str:
    """What the value must be, and is not."""
    bounded = rule.above is not None or rule.least is not None
    if bounded and not _is_finite(value):
        return "be a finite number"
    if rule.above is not None and value <= rule.above:
        return "be positive"
    if rule.least is not None and value < rule.least:
        return f"not be below {rule.least:g}"
    if rule.most is not None and value > rule.most:
        return f"not be above {rule.most}"
    return ""


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


def checked_new_ids(ids: Iterable[str]) -> list[str]:
    """Ids for messages to come. Raises TypeError or ConfigurationError for what can be none."""
    found = iterable("envelope_ids", ids, "ids")
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"'envelope_ids' must be strings, got {type(one).__name__}")
    if "" in found or len({*found}) < len(found):
        raise ConfigurationError("'envelope_ids' must not be empty nor equal: each is one message's own")
    return found


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


def visibility_timeout_of(gateway: object) -> int | None:
    """What a gateway says of its leases. Raises GatewayContractError or ConfigurationError."""
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


def picked(kind: type[T], arguments: Mapping[str, Any]) -> T:
    """A dataclass of options from a constructor's arguments, by their names."""
    return kind(**{field.name: arguments[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def noting_names(initialise: Callable[Concatenate[T, P], None]) -> Callable[Concatenate[T, P], None]:
    """A constructor that keeps the names of its keyword arguments in `_chosen`; its signature stays.

    A default that somebody chose differs from one that nobody thought of.
    """

    @functools.wraps(initialise)
    def noting(self: T, *args: P.args, **kwargs: P.kwargs) -> None:
        noted: Any = self
        noted._chosen = frozenset(kwargs)  # noqa: SLF001 - its own constructor
        initialise(self, *args, **kwargs)

    return cast("Callable[Concatenate[T, P], None]", noting)
