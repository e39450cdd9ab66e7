"""What the text of a setting stands for; a parser raises ValueError with what it must be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis_message_queue.limits import Limits
from redis_message_queue.validation import is_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NAMES = ("rate_per_second", "rate_burst", "max_in_flight")
_HIGHEST_RATE = 10**6
_TEXTS = ("queue", "key_separator", "worker_id", "instance", "pod_uid", "owner_uid", "config_hash")


def listed(value: str) -> tuple[str, ...]:
    """Texts between commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def folders(value: str) -> tuple[Path, ...]:
    """Folders or archives between colons, as in PYTHONPATH; each must be there."""
    found = tuple(Path(part) for part in value.split(":") if part)
    for each in found:
        if not each.exists():
            raise ValueError(f"has '{each}', which is not there: handlers are imported from folders")
    return found


# Lua counts it exactly, and no clock or timeout of Python overflows at it. As seconds, 31 years.
_MOST = 10**9


def whole(minimum: int, maximum: int = _MOST) -> Callable[[str], int]:
    """A parser of whole numbers from `minimum` to `maximum`."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return number

    return parse


def seconds(value: str) -> float:
    """A number of seconds. Raises ValueError."""
    return _above_zero(value, "a number of seconds", _MOST)


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of these words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def switch(value: str) -> bool:
    """True or False from a word. Raises ValueError for any other."""
    if value.lower() not in ("true", "1", "false", "0"):
        raise ValueError("must be true or false")
    return value.lower() in ("true", "1")


def rate(value: str) -> float:
    """Messages a second. Raises ValueError."""
    return _above_zero(value, "a number", _HIGHEST_RATE)


def _above_zero(value: str, what: str, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise ValueError(f"must be {what} above 0, and at most {most}")
    return number


def limits_of(values: Mapping[str, Any], prefix: str = "") -> Limits:
    """Those of the queue, or with the prefix `key_` of each limit key. Raises ValueError."""
    return Limits(**{name: values[prefix + name] for name in _NAMES})


def text_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The names of settings whose text Redis cannot be sent, or that is none, with why."""
    texts = [(name, values[name]) for name in _TEXTS if values[name]]
    blank = [(name, f"{text!r} must not be blank") for name, text in texts if not text.strip()]
    return blank + [(name, f"{text!r} must be UTF-8") for name, text in texts if not is_utf8(text)]


def limit_problems(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The names of settings that cannot work together, with why."""
    found = []
    for prefix in ("", "key_"):
        try:
            limits_of(values, prefix)
        except ValueError as error:
            found.append((f"{prefix}rate_burst", str(error)))
    return found
