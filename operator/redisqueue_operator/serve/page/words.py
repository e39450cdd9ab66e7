"""Numbers and times as people read them. What is not known is a question mark, never zero."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN, NOTHING = "?", "-"


def number(value: float | None) -> str:
    """A count, in groups of three digits."""
    return UNKNOWN if value is None else f"{round(value):,}".replace(",", "\u202f")


def rate(value: float | None) -> str:
    """So many a second: three digits of what is small."""
    if value is None:
        return UNKNOWN
    if value >= 100:
        return number(value)
    return "0" if value == 0 else f"{value:.3g}" if value >= 0.01 else "<0.01"


def duration(seconds: float | None) -> str:
    """In the largest two units."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f}\u202fs"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u202fmin" + (f" {left}\u202fs" if left and minutes < 10 else "")
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}\u202fh" + (f" {minutes}\u202fmin" if minutes else "")
    return f"{hours // 24}\u202fd {hours % 24}\u202fh"


def age(seconds: float | None) -> str:
    """How long the oldest waits; a dash where nothing does."""
    return NOTHING if seconds == 0 else duration(seconds)


def clock(at: float) -> str:
    """The time of day, UTC, of seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def minute(at: float) -> str:
    """The same to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")
