"""From single measurements to the table: medians, and ratios to redis-message-queue 7.0.0 in the same run."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from tests.bench.contestants import ASYNQ, BASE, BULLMQ, CONTESTANTS, OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Result = dict[str, Any]

# Scenario, how the table calls it, what 7.0.0 does for it, and the ratio that the library shall reach.
RATES: tuple[tuple[str, str, str, float | None], ...] = (
    ("publish_dedup", "publish with deduplication", "publish_dedup", 2.5),
    ("publish", "publish without", "publish", None),
    ("publish_many", "publish_many, 500 at once", "publish_dedup", 15),
    ("process", "process_message", "process", 2),
    ("loop", "settle and claim, one at a time", "process", 3.5),
    ("batches", "settle and claim, 16 at a time", "process", 20),
    ("async_publish_dedup", "asyncio: publish with deduplication", "async_publish_dedup", 2.5),
    ("async_publish", "asyncio: publish without", "async_publish", None),
    ("async_publish_many", "asyncio: publish_many, 500 at once", "async_publish_dedup", 15),
    ("async_process", "asyncio: process_message", "async_process", 2),
    ("async_loop", "asyncio: settle and claim, one at a time", "async_process", 3.5),
    ("async_batches", "asyncio: settle and claim, 16 at a time", "async_process", 20),
)


class Table:
    """The results, by contestant, scenario and whether replies were delayed."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._cells: dict[tuple[str, str, bool], list[Result]] = {}
        self.missing: dict[str, str] = {}
        for result in results:
            if "missing" in result:
                self.missing[result["contestant"]] = result["missing"]
                continue
            key = result["contestant"], result["scenario"], result["delayed"]
            if "problem" not in result:
                self._cells.setdefault(key, []).append(result)

    def median(self, contestant: str, scenario: str, field: str, *, delayed: bool = False) -> float | None:
        """The median over the repetitions; None where nothing was measured."""
        values = self.values(contestant, scenario, field, delayed=delayed)
        return median(values) if values else None

    def values(self, contestant: str, scenario: str, field: str, *, delayed: bool = False) -> list[float]:
        """One for each repetition that measured it."""
        results = self._cells.get((contestant, scenario, delayed), ())
        return [result[field] for result in results if field in result]

    def delays(self, contestant: str) -> list[float]:
        """All wake-ups in ms."""
        return [d for result in self._cells.get((contestant, "idle", False), ()) for d in result["delays_ms"]]

    def ratio(self, scenario: str, base: str, *, delayed: bool = False) -> float | None:
        """How many times as fast as 7.0.0: the median of the ratios of each repetition."""
        ours, theirs = (
            {result["repetition"]: result["per_second"] for result in self._cells.get(key, ())}
            for key in ((OURS, scenario, delayed), (BASE, base, delayed))
        )
        ratios = [ours[number] / theirs[number] for number in ours.keys() & theirs.keys()]
        return median(ratios) if ratios else None


def markdown(results: Sequence[Result]) -> str:
    """All tables."""
    table = Table(results)
    parts = [_rates(table), _state(table), _publishing(table), _everybody(table)]
    return "\n\n".join(part for part in parts if part)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 0) -> str:
    """As the tables have it; nothing where nothing was measured."""
    return "" if value is None else f"{value:,.{digits}f}"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, and from where to where the values go if there are several."""
    if len(values) < 2:
        return number(values[0], digits) if values else ""
    return (
        f"{number(median(values), digits)} ({number(min(values), digits)} to {number(max(values), digits)})"
    )


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}x"


def _rates(table: Table) -> str:
    rows = []
    for scenario, name, base, goal in RATES:
        ours = table.median(OURS, scenario, "per_second")
        if ours is None:
            continue
        rows.append(
            (
                name,
                number(ours),
                number(table.median(BASE, base, "per_second")),
                _times(table.ratio(scenario, base)),
                _times(table.ratio(scenario, base, delayed=True)),
                _times(goal),
                number(table.median(OURS, scenario, "client_us")),
                number(table.median(OURS, scenario, "server_us")),
                number(table.median(OURS, scenario, "round_trips"), 2),
            )
        )
    head = ("Messages per second", "ours", "7.0.0", "ratio", "ratio, 0.5 ms away", "goal")
    return grid((*head, "client µs", "server µs", "round trips"), rows)


def _state(table: Table) -> str:
    rows = [
        (name, number(table.median(OURS, *cell), digits), number(table.median(BASE, *cell), digits), goal)
        for name, cell, digits, goal in (
            ("commands per second of an idle consumer", ("idle", "idle_per_second"), 1, "≤ 2"),
            ("ack of the oldest of 100,000 in flight, server µs", ("oldest", "server_us"), 0, "≤ 100"),
            ("a claim that meets 100,000 expired leases, ms", ("expired", "blocked_ms"), 1, "≤ 5"),
            ("bytes in flight beyond the payload", ("memory", "bytes"), 0, "≤ 900"),
            ("sampling one of 1,000 queues, server µs", ("sampling", "server_us"), 1, ""),
            ("sampling one of 1,000 queues, client µs", ("sampling", "client_us"), 1, ""),
        )
    ]
    wake = [("wake-up of an idle consumer, p50 / p99 ms", _wake(table, OURS), _wake(table, BASE), "p50 ≤ 3")]
    return grid(("Cost", "ours", "7.0.0", "goal"), wake + rows)


def _wake(table: Table, contestant: str) -> str:
    delays = table.delays(contestant)
    if len(delays) < 2:
        return ""
    return f"{median(delays):.1f} / {quantiles(delays, n=100, method='inclusive')[98]:.1f}"


_PUBLISHING = (
    ("publish_dedup", "with deduplication"),
    ("publish", "without"),
    ("publish_many", "500 at once"),
)


def _publishing(table: Table) -> str:
    """Ours and the producers of other languages: what they send in a second, and its processor time."""
    rows: list[tuple[str, ...]] = []
    for who in (OURS, ASYNQ.name, BULLMQ.name):
        if who in table.missing:
            rows.append((f"{who}: missing, {table.missing[who]}", *[""] * 9))
        for name, prefix in ((who, ""), (f"{who}, asyncio", "async_")):
            cells: list[str] = []
            for scenario, _ in _PUBLISHING:
                cells.append(spread(table.values(who, prefix + scenario, "per_second")))
                costs = [table.median(who, prefix + scenario, field) for field in ("client_us", "server_us")]
                cells += [number(cost, 1) for cost in costs]
            if any(cells):
                rows.append((name, *cells))
    head = [cell for _, kind in _PUBLISHING for cell in (f"{kind}, per second", "client µs", "server µs")]
    return grid(("Publish", *head), rows)


def _everybody(table: Table) -> str:
    rows = []
    for contestant in (contestant.name for contestant in CONTESTANTS):
        # Ours is set against tasks that are handled one at a time, as theirs are.
        cells = [
            number(table.median(contestant, scenario, field, delayed=delayed), digits)
            for scenario, field, delayed, digits in (
                ("publish", "per_second", False, 0),
                ("process", "per_second", False, 0),
                ("publish", "per_second", True, 0),
                ("process", "per_second", True, 0),
                ("publish", "round_trips", False, 1),
                ("process", "round_trips", False, 1),
            )
        ]
        if contestant in table.missing:
            rows.append((f"{contestant}: missing, {table.missing[contestant]}", *[""] * 7))
        elif any(cells):
            rows.append((contestant, *cells, _wake(table, contestant)))
        if contestant == OURS:
            rows.append(_loop_row(table))
    head = ("", "publish/s", "handle/s", "publish/s, 0.5 ms away", "handle/s, 0.5 ms away")
    return grid((*head, "round trips to publish", "to handle", "wake-up p50 / p99 ms"), rows)


def _loop_row(table: Table) -> tuple[str, ...]:
    """The same library as a worker uses it."""
    near, far, trips = (
        table.median(OURS, "loop", "per_second"),
        table.median(OURS, "loop", "per_second", delayed=True),
        table.median(OURS, "loop", "round_trips"),
    )
    return ("… settle and claim in one", "", number(near), "", number(far), "", number(trips, 1), "")
