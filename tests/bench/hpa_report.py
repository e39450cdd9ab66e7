"""From measurements of the operator and the HorizontalPodAutoscaler to tables."""

from __future__ import annotations

from statistics import mean, median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Result = dict[str, Any]
_COLUMNS = (
    ("cpu_percent", "CPU %", 1),
    ("api_server_cpu_percent", "CPU % of the API server", 1),
    ("writes_per_second", "API writes/s", 1),
    ("reads_per_second", "API reads/s", 0),
    ("redis_connections", "Redis connections", 0),
    ("redis_calls_per_second", "Redis calls/s", 0),
)


def markdown(results: Sequence[Result]) -> str:
    """All tables."""
    return f"{reactions(results)}\n\n{fleets(results)}"


def spread(delays: Sequence[float]) -> dict[str, float]:
    """Many times in short."""
    p99 = quantiles(delays, n=100, method="inclusive")[98] if len(delays) > 1 else delays[0]
    return {"p50": median(delays), "p99": p99, "max": max(delays)}


def reactions(results: Sequence[Result]) -> str:
    """Of one queue and of a burst, one line for each side."""
    lines = [
        "| Message → /scale, s | | p50 | max | API writes, there and back | CPU s |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for kind in dict.fromkeys(one["kind"] for one in results if one["what"] == "reaction"):
        of_kind = [one for one in results if one["what"] == "reaction" and one["kind"] == kind]
        for number, side in enumerate(_sides(of_kind)):
            found = [one for one in of_kind if one["side"] == side]
            delays = [delay for one in found for delay in one["delays"]]
            writes = mean(sum(each.values()) for one in found for each in one["writes"])
            name = "" if number else f"one sleeping queue, {kind} ({len(delays)} times)"
            lines.append(f"| {name} | {side} | {median(delays):.3f} | {max(delays):.3f} | {writes:.0f} | |")
    bursts = [one for one in results if one["what"] == "burst"]
    for number, side in enumerate(_sides(bursts)):
        found = [one for one in bursts if one["side"] == side]
        name = "" if number else f"all of {found[0]['queues']} at once, 0 → 20 ({len(found)} times)"
        p50, most = median(one["p50"] for one in found), max(one["max"] for one in found)
        cpu = median(one["cpu_seconds"] for one in found)
        lines.append(f"| {name} | {side} | {p50:.3f} | {most:.3f} | | {cpu:.2f} |")
    return "\n".join(lines)


def fleets(results: Sequence[Result]) -> str:
    """What each side takes while its queues rest and while they work."""
    head = ("Queues", "", "RSS MiB", *(title for _, title, _ in _COLUMNS))
    lines = [f"| {' | '.join(head)} |", "|---|---|" + "---:|" * (len(head) - 2)]
    for state in ("idle", "active"):
        of_state = [one for one in results if one["what"] == "fleet" and one["state"] == state]
        for number, side in enumerate(_sides(of_state)):
            found = [one for one in of_state if one["side"] == side]
            name = "" if number else f"{found[0]['queues']} {state}"
            memory = " + ".join(
                f"{median(one['memory_mib'][process] for one in found):.0f}"
                for process in found[0]["memory_mib"]
            )
            cells = (f"{median(one[field] for one in found):,.{digits}f}" for field, _, digits in _COLUMNS)
            lines.append(f"| {name} | {side} | {memory} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _sides(results: Sequence[Result]) -> list[str]:
    """In the order of their names from behind: ours first, whoever was measured first."""
    return sorted({one["side"] for one in results}, reverse=True)
