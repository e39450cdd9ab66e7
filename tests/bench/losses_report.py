"""From the runs of `make bench-losses` to the tables of the READMEs: the worst counts, the median time."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.losses_entries import ENTRIES, SCENARIOS
from tests.bench.losses_run import LIMIT_SECONDS
from tests.bench.report import grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.bench.outcome import Results


def markdown(results: Results) -> str:
    """The table, and what it has no room for."""
    return "\n\n".join(part for part in (_table(results), _left(results), _ended(results)) if part)


def settings() -> str:
    """How each contestant was set, with defaults in brackets."""
    table = grid(("", "settings"), [(entry.name, entry.told) for entry in ENTRIES])
    return table.replace("---:", "---")


def cell(runs: Sequence[dict[str, Any]]) -> str:
    """Lost and doubled, the worst of the runs, and seconds until all is done, their median."""
    problems = [run["problem"] for run in runs if "problem" in run]
    if problems or not runs:
        return f"failed: {problems[0]}" if problems else ""
    lost, twice, left = (max(run[field] for run in runs) for field in ("lost", "twice", "left"))
    seconds = [run["seconds"] for run in runs if run["seconds"] is not None]
    took = f"{median(seconds):.0f} s" if seconds else ""
    if left:
        took = f"{left} not in {LIMIT_SECONDS:.0f} s"
    elif lost:
        took = "never"
    return f"{_marked(lost)} / {_marked(twice)} / {took}"


def _marked(count: int) -> str:
    return f"**{count}**" if count else "0"


def _runs(results: Results, who: str, what: str) -> list[dict[str, Any]]:
    return [result for result in results if (result["who"], result["what"]) == (who, what)]


def _table(results: Results) -> str:
    rows = []
    for entry in ENTRIES:
        cells = [cell(_runs(results, entry.name, what)) for what in SCENARIOS]
        if absent := _runs(results, entry.name, "missing"):
            rows.append((f"{entry.name}: missing, {absent[0]['problem']}", *cells))
        elif any(cells):
            rows.append((entry.name, *cells))
    head = [scenario.title for scenario in SCENARIOS.values()]
    return grid(("lost / handled twice / all done after", *head), rows)


def _left(results: Results) -> str:
    """Where messages were that nobody had handled in the time."""
    places = {
        (result["who"], SCENARIOS[result["what"]].title, ", ".join(f"`{key}`" for key in result["where"]))
        for result in results
        if result.get("left")
    }
    said = _sentences(f"{who} ({title}): in {keys}" for who, title, keys in places)
    return f"Not handled in the time, but still in Redis: {said}." if said else ""


def _ended(results: Results) -> str:
    """Whose process gave up."""
    who = {
        f"{result['who']} ({SCENARIOS[result['what']].title})"
        for result in results
        if result.get("ended_by_themselves")
    }
    said = _sentences(who)
    return (
        f"The worker's process ended by itself, and was started again after a second: {said}." if said else ""
    )


def _sentences(parts: Iterable[str]) -> str:
    return "; ".join(sorted(parts))
