"""The outcomes as a table in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.simulate.fleet import FleetOutcome, FleetScaler
    from tests.simulate.loads import Load
    from tests.simulate.play import Outcome
    from tests.simulate.scalers import Scaler

HEAD = (
    "| Load | Scaler | wait p50 | wait p99 | pod-seconds | interrupted | flaps | most pods |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(outcomes: Iterable[Outcome]) -> str:
    """One line for each load and scaler; times in seconds."""
    lines, load = [HEAD], ""
    for each in outcomes:
        unfinished = f" ({each.unfinished} not done)" if each.unfinished else ""
        cells = (
            each.load if each.load != load else "",
            each.scaler,
            f"{each.wait_p50:.1f}",
            f"{each.wait_p99:.1f}{unfinished}",
            f"{each.pod_seconds:.0f}",
            str(each.interrupted),
            str(each.flaps),
            str(each.most_replicas),
        )
        lines.append(f"| {' | '.join(cells)} |")
        load = each.load
    return "\n".join(lines)


FLEET_HEAD = (
    "| Scaler | wait p50: high, middle, low | wait p99: high, middle, low | in use | busy removed "
    "| most workers |\n"
    "|---|---|---|---|---|---|"
)


def fleet_table(outcomes: Iterable[FleetOutcome]) -> str:
    """One line for each scaler; times in whole seconds."""
    lines = [FLEET_HEAD]
    for each in outcomes:
        left = f" ({each.unfinished} of {each.messages} not done)" if each.unfinished else ""
        cells = (
            each.scaler,
            ", ".join(f"{seconds:.0f}" for seconds in each.p50),
            ", ".join(f"{seconds:.0f}" for seconds in each.p99) + left,
            f"{each.utilisation:.0%}",
            str(each.busy_removed),
            str(each.most_workers),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def legend(named: Iterable[Load | Scaler | FleetScaler]) -> str:
    """What the names in the table mean."""
    return "\n".join([f"- {each.name}: {each.text}" for each in named])
