"""What was seen → lines of a terminal of any width. Pure: nothing is drawn here.

Columns come in the order of COLUMNS; where there is no room for all, those of low rank are left out. What is
left over goes to the bar and to the trend.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from redisqueue_operator.cli.screen import CUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redisqueue_operator.cli.live.looks import LiveQueue, LiveView

GAP = "  "
LEVELS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"
PLAIN_LEVELS = "_.-=+*%#"
NARROWEST_NAME, SHORTEST_BAR, SHORTEST_TREND = 8, 6, 8
LONGEST_BAR, LONGEST_TREND = 30, 120
OLD_SECONDS = 5.0
"""Numbers older than this are marked, whatever the reason."""


@dataclass(frozen=True)
class Column:
    """One column of numbers; `rank` 0 stays longest, `style` may depend on the number."""

    header: str
    rank: int
    text: Callable[[LiveQueue], str]
    style: Callable[[LiveQueue], str] = lambda _: ""


def picture(
    seen: LiveView, where: str, now: datetime, size: tuple[int, int], *, first: int = 0, ascii_only: bool
) -> Text:
    """All lines of a terminal of (columns, lines), from the queue of number `first` on."""
    width, height = max(size[0], 4), max(size[1], 3)
    age = None if seen.at is None else (now - seen.at).total_seconds()
    is_old = bool(seen.trouble) or (age is not None and age > OLD_SECONDS)
    head = [(where if seen.at is None else f"{spelled_time(seen.at)}  {counted(seen)}  {where}", "bold")]
    tail = [(remark, "yellow") for remark in seen.remarks]
    if is_old:
        head.append((trouble(seen, age), "bold red"))
    elif seen.at is None:
        head.append(("looking…", ""))
    room = max(height - len(head) - len(tail) - 2, 1)
    shown = seen.queues[first : first + room]
    if len(seen.queues) > len(shown):
        tail.insert(
            0, (f"{first + 1} to {first + len(shown)} of {len(seen.queues)}: ↑ ↓ for the others", "dim")
        )
    lines = [Text(fit(text, width), style) for text, style in head]
    lines += table(shown, width, ascii_only=ascii_only, is_old=is_old) if shown else []
    if seen.at is not None and not seen.queues:
        lines.append(Text(fit("no queue found: name one, or look at another database", width)))
    lines += [Text(fit(text, width), style) for text, style in tail]
    return Text("\n").join(lines[:height])


def trouble(seen: LiveView, age: float | None) -> str:
    """Why the numbers are old, and how old they are."""
    why = f"Redis: {seen.trouble}; trying again" if seen.trouble else "Redis does not answer"
    return (
        why
        if age is None or seen.at is None
        else f"OLD: numbers of {spelled_time(seen.at)}, {ago(age)} ago. {why}"
    )


def counted(seen: LiveView) -> str:
    """How many queues, and what all of them have waiting."""
    number, read = len(seen.queues), [queue.sample for queue in seen.queues if queue.sample]
    waiting = sum(sample.pending for sample in read) if read or not number else "?"
    unread = f", {number - len(read)} cannot be read" if len(read) < number else ""
    return f"{number} queue{'s' * (number != 1)}, {waiting} pending{unread}"


def table(queues: Sequence[LiveQueue], width: int, *, ascii_only: bool, is_old: bool) -> list[Text]:
    """The header and a line for each queue, none wider than that."""
    name_width, widths = fitted(queues, width)
    columns = [column for column in COLUMNS if column.header in widths]
    head = Text(fit("QUEUE", name_width, pad=True), "bold")
    for column in columns:
        head.append(GAP + aligned(column.header, widths[column.header], column))
    most = max((queue.sample.pending for queue in queues if queue.sample), default=0)
    rows = [head]
    for queue in queues:
        line = Text(fit(queue.name, name_width, pad=True), "dim" if is_old else "")
        if queue.sample is None:
            line.append(fit(f"{GAP}? {queue.problem}", width - name_width), "red")
        for column in columns if queue.sample else ():
            wide = widths[column.header]
            if column.header == BAR:
                text = bar(queue.sample.pending if queue.sample else 0, most, wide, ascii_only=ascii_only)
            elif column.header == TREND:
                text = trend(queue.pending, wide, ascii_only=ascii_only)
            else:
                text = column.text(queue)
            line.append(GAP + aligned(text, wide, column), "" if is_old else column.style(queue))
        rows.append(line)
    return rows


def fitted(queues: Sequence[LiveQueue], width: int) -> tuple[int, dict[str, int]]:
    """The width of the names, and of each column that there is room for, by its header."""
    longest = max(cell_len(queue.name) for queue in queues)
    name_width = min(longest, max(NARROWEST_NAME, width // 3))
    left = width - name_width
    widths: dict[str, int] = {}
    for column in sorted(COLUMNS, key=lambda column: column.rank):
        wide = SHORTEST.get(column.header) or widest(column, queues)
        if left < len(GAP) + wide:
            break
        widths[column.header] = wide
        left -= len(GAP) + wide
    more = min(longest - name_width, left)
    left -= more
    for header in SHORTEST.keys() & widths.keys():
        share = left // 3 if header == BAR else left - left // 3
        widths[header] = min(widths[header] + share, LONGEST[header])
    return name_width + more, widths


def widest(column: Column, queues: Sequence[LiveQueue]) -> int:
    """Columns of a terminal that it needs."""
    texts = [column.text(queue) for queue in queues if queue.sample]
    return max(len(column.header), *(len(text) for text in texts)) if texts else len(column.header)


def bar(value: int, most: int, width: int, *, ascii_only: bool) -> str:
    """As long as the value, of the largest of all; whatever is not nothing is seen."""
    if not value or not most:
        return ""
    eighths = max(round(value / most * width * 8), 1)
    if ascii_only:
        return "#" * max(eighths // 8, 1)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def trend(values: Sequence[int], width: int, *, ascii_only: bool) -> str:
    """The last numbers from the left to the right, from nothing to the most of them."""
    shown, levels = values[-width:], PLAIN_LEVELS if ascii_only else LEVELS
    most = max(shown, default=0)
    return "".join(levels[min(-(-value * 7 // most), 7) if most else 0] for value in shown).rjust(width)


def aligned(text: str, width: int, column: Column) -> str:
    """Of this width: numbers to the right."""
    return text.ljust(width) if column.header in SHORTEST else text.rjust(width)


def fit(text: str, width: int, *, pad: bool = False) -> str:
    """A line of at most that width; what is cut off is marked, what would move the cursor is not shown."""
    line = "".join(one if one.isprintable() else "?" for one in text)
    if cell_len(line) > width:
        return set_cell_size(line, max(width - 1, 0)) + CUT if width else ""
    return set_cell_size(line, width) if pad else line


def spelled_time(at: datetime) -> str:
    """The time of a look."""
    return at.astimezone(UTC).strftime("%H:%M:%SZ")


def ago(seconds: float | None) -> str:
    """A duration in at most two units; `?` for the unknown."""
    if seconds is None:
        return "?"
    whole = int(seconds)
    for size, unit, lower, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size}{unit}{rest}{smaller}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def per_second(value: float | None) -> str:
    """A rate with one digit where that tells something."""
    return "?" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def oldest(queue: LiveQueue) -> str:
    """How long the message waits that waits longest."""
    rates = queue.rates
    if rates.oldest_age_seconds is None:
        return "?" if queue.sample and queue.sample.pending else "-"
    if not rates.waiting:
        return "-"
    return f"{'>' * queue.oldest_is_at_least}{ago(rates.oldest_age_seconds)}"


def empty_in(queue: LiveQueue) -> str:
    """How long until nothing waits, at the present rates."""
    rates = queue.rates
    if rates.arrivals_per_second is None or rates.claims_per_second is None:
        return "?"
    if not rates.waiting:
        return "-"
    if rates.eta_seconds is not None:
        return ago(rates.eta_seconds)
    return "grows" if rates.arrivals_per_second > rates.claims_per_second else "stays"


def counter(name: str) -> Callable[[LiveQueue], str]:
    """One of the sample's numbers."""
    return lambda queue: str(getattr(queue.sample, name))


def warned(name: str, style: str) -> Callable[[LiveQueue], str]:
    """This style while the number is not zero."""
    return lambda queue: style if getattr(queue.sample, name) else "dim"


BAR, TREND = "", "TREND"
SHORTEST = {BAR: SHORTEST_BAR, TREND: SHORTEST_TREND}
LONGEST = {BAR: LONGEST_BAR, TREND: LONGEST_TREND}
COLUMNS = (
    Column("PENDING", 0, counter("pending"), lambda _: "bold"),
    Column(BAR, 9, str, lambda _: "cyan"),
    Column(TREND, 4, str, lambda _: "cyan"),
    Column("OLDEST", 2, oldest),
    Column("IN/S", 8, lambda queue: per_second(queue.rates.arrivals_per_second)),
    Column("OUT/S", 5, lambda queue: per_second(queue.rates.claims_per_second)),
    Column("EMPTY IN", 3, empty_in, lambda queue: "yellow" if empty_in(queue) == "grows" else ""),
    Column("WORKERS", 6, lambda queue: str(len(queue.sample.workers)) if queue.sample else "?"),
    Column("BUSY", 7, lambda queue: f"{queue.busy}/{queue.slots}"),
    Column("IN FLIGHT", 10, counter("in_flight")),
    Column("DELAYED", 11, counter("delayed")),
    Column("FAILED", 12, counter("failed"), warned("failed", "red")),
    Column("DLQ", 1, counter("dead_letter"), warned("dead_letter", "bold red")),
)
