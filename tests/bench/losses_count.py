"""From the book that handlers keep outside Redis to one row: what was lost, doubled, and how long it took."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True)
class Line:
    """A handler "began" or "ended" a message, at a Unix time in seconds."""

    what: str
    message: str
    at: float


def lines_of(text: str, messages: Iterable[str]) -> list[Line]:
    """What a book says of these messages; a last line that is still being written does not count yet."""
    known = set(messages)
    whole = text[: text.rfind("\n") + 1].splitlines()
    lines = [Line(what, message, float(at)) for what, message, at in map(str.split, whole)]
    return [line for line in lines if line.message in known]


def begun(lines: Iterable[Line]) -> set[str]:
    """The messages that handlers have had in hand."""
    return {line.message for line in lines if line.what == "began"}


def undone(messages: Iterable[str], lines: Iterable[Line]) -> list[str]:
    """The messages that no handler has ended."""
    ended = {line.message for line in lines if line.what == "ended"}
    return [message for message in messages if message not in ended]


def is_over(
    messages: Sequence[str], lines: Sequence[Line], now: float, fault_over_at: float, quiet_seconds: float
) -> bool:
    """Whether all are done, and nothing has been begun or ended for so long since the fault was over."""
    last = max((line.at for line in lines), default=now)
    return not undone(messages, lines) and now - max(last, fault_over_at) >= quiet_seconds


def row(
    messages: Sequence[str], lines: Sequence[Line], left: Mapping[str, Iterable[str]], fault_at: float
) -> dict[str, Any]:
    """The numbers of one run.

    Args:
        messages: those that were enqueued.
        lines: what the book says of them.
        left: the keys of Redis in which messages without a handler's end are in the end.
        fault_at: Unix time of the fault.
    """
    ends: dict[str, float] = {}
    for line in lines:
        if line.what == "ended":
            ends.setdefault(line.message, line.at)
    missing = undone(messages, lines)
    began, ended = (
        Counter(line.message for line in lines if line.what == what) for what in ("began", "ended")
    )
    kept = [message for message in missing if message in left]
    return {
        "enqueued": len(messages),
        "handled": len(ends),
        "lost": len(missing) - len(kept),
        "left": len(kept),
        "where": sorted({key for message in kept for key in left[message]}),
        "begun_again": sum(count > 1 for count in began.values()),
        "twice": sum(count > 1 for count in ended.values()),
        "seconds": None if missing else round(max(ends.values()) - fault_at, 1),
    }
