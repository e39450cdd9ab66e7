"""From single measurements of whole workers to tables: medians, and from where to where they go."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from tests.bench.entries import ENTRIES, FOREIGN, OURS, PEERS, RATES, SCENARIOS
from tests.bench.report import grid, number, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.entries import Entry
    from tests.bench.outcome import Results

OURS_NAMES = {entry.name for entry in OURS}


class Workers:
    """The results, by contestant and scenario."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.problems = {(one["who"], one["what"]): one["problem"] for one in results if "problem" in one}

    def values(self, who: str, what: str, field: str) -> list[Any]:
        """One for each round that measured it."""
        return [
            one[field] for one in self._results if (one["who"], one["what"]) == (who, what) and field in one
        ]

    def cell(self, who: str, what: str, field: str, digits: int = 0) -> str:
        """The median; nothing where nothing was measured."""
        found = self.values(who, what, field)
        return number(median(found), digits) if found else ""

    def missing(self, who: str) -> str | None:
        """Why a contestant took no part."""
        return self.problems.get((who, "missing"))


def markdown(results: Results) -> str:
    """All tables."""
    table = Workers(results)
    parts = [
        _as_they_come(table),
        _side_by_side(table),
        _start(table),
        _killed(table),
        _beaten(table),
        _load(results),
    ]
    return "\n\n".join(part for part in parts if part)


def _name(who: str) -> str:
    return f"**{who}**" if who in OURS_NAMES else who


def _rows(table: Workers, rows: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[str, ...]]:
    """Those of which something was measured, and what is missing; none where nothing was measured at all."""
    if not any(cell for _, cells in rows for cell in cells):
        return []
    found = []
    for who, cells in rows:
        if reason := table.missing(who):
            found.append((f"{who}: missing, {reason}", *[""] * len(cells)))
        elif any(cells):
            found.append((_name(who), *cells))
    return found


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    return grid(head, rows) if rows else ""


def _wake(table: Workers, who: str) -> str:
    delays = [delay for one in table.values(who, "idle", "delays_ms") for delay in one]
    if len(delays) < 2:
        return ""
    return f"{median(delays):.1f} / {quantiles(delays, n=100, method='inclusive')[98]:.1f}"


def _as_they_come(table: Workers) -> str:
    """Everybody at work with nothing to do, and at rest."""
    rows = [
        (
            who,
            (
                table.cell(who, "noop", "per_second"),
                table.cell(who, "four", "per_second"),
                table.cell(who, "noop", "client_us"),
                table.cell(who, "noop", "server_us"),
                _wake(table, who),
                table.cell(who, "idle", "idle_cpu_percent", 1),
                table.cell(who, "idle", "resident_mib"),
            ),
        )
        for who in (entry.name for entry in ENTRIES)
    ]
    head = ("", "tasks/s", "4 processes", "client µs per task", "server µs", "wake-up p50 / p99 ms")
    return _table((*head, "idle CPU %", "idle MiB"), _rows(table, rows))


def _side_by_side(table: Workers) -> str:
    """The same slots, messages and handlers for each."""
    rows: list[tuple[str, ...]] = []
    for what in RATES:
        found = []
        for entry in ENTRIES:
            if entry in PEERS or what not in entry.scenarios or entry.options:
                continue
            who = entry.name
            cells = [spread(table.values(who, what, "per_second"))]
            cells += [spread(table.values(who, what, cost), 1) for cost in ("client_us", "server_us")]
            if problem := table.problems.get((who, what)):
                cells[0] = cells[0] or f"failed: {problem}"
            found.append((who, cells))
        title = SCENARIOS[what].title_for(OURS[0])
        rows += [(title, *row) for row in _rows(table, found)]
    return _table(("", "", "messages/s", "client µs", "server µs"), rows)


def _start(table: Workers) -> str:
    rows = [
        (who, [spread(table.values(who, "start", field)) for field in ("start_ms", "cpu_ms")])
        for who in _taking_part("start")
    ]
    return _table((SCENARIOS["start"].title, "ms", "client CPU, ms"), _rows(table, rows))


def _killed(table: Workers) -> str:
    rows = []
    for who in _taking_part("killed"):
        problem = table.problems.get((who, "killed"))
        first = f"failed: {problem}" if problem else table.cell(who, "killed", "first_s")
        rows.append((who, [first, table.cell(who, "killed", "last_s")]))
    return _table((SCENARIOS["killed"].title, "the first is back after s", "the last"), _rows(table, rows))


def _taking_part(what: str) -> list[str]:
    return [entry.name for entry in ENTRIES if what in entry.scenarios]


def _beaten(table: Workers) -> str:
    """Ratios of the fastest of ours, with the goals."""

    def fastest(entries: Iterable[Entry], what: str) -> float:
        return max(float(median(table.values(one.name, what, "per_second") or [0.0])) for one in entries)

    groups: list[tuple[str, Sequence[Entry], tuple[str, str]]]
    groups = [("the fastest task queue of Python", PEERS, (" (goal 2x)", " (goal 3x)"))]
    groups += [(entry.name, (entry,), ("", "")) for entry in FOREIGN]
    lines = []
    for name, entries, goals in groups:
        ratios = [
            f"{fastest(OURS, what) / fastest(entries, what):.1f}x {words}{goal}"
            for what, words, goal in zip(
                ("noop", "four"), ("with one process", "with four"), goals, strict=True
            )
            if fastest(entries, what)
        ]
        if ratios:
            lines.append(f"Ours against {name}: {' and '.join(ratios)}.")
    return "\n".join(lines)


def _load(results: Results) -> str:
    loads = [one["load"] for one in results if "load" in one]
    return f"Load average of the machine before each run: {spread(loads, 1)}." if loads else ""
