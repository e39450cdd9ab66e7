"""From single measurements of the operator to tables with their goals."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Result = dict[str, Any]
_KINDS = {
    "asleep": "one sleeping queue, 0 → 20",
    "awake": "one queue with a worker, 1 → 20",
    "polled": "one sleeping queue with `wake: Poll`, 0 → 20",
}
_COLUMNS = (
    ("resident_mib", "RSS MiB", 0),
    ("cpu_percent", "CPU %", 1),
    ("writes_per_second", "API writes/s", 2),
    ("reads_per_second", "API reads/s", 2),
    ("redis_connections", "Redis connections", 0),
    ("redis_calls_per_second", "Redis calls/s", 0),
)


def markdown(results: Sequence[Result]) -> str:
    """All tables."""
    return "\n\n".join((_reactions(results), _fleets(results), _pods(results)))


def _reactions(results: Sequence[Result]) -> str:
    lines = [
        "| Message → /scale write, s | p50 | p99 | max | writes | goal |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for kind, name in _KINDS.items():
        found = [one for one in results if one["what"] == "reaction" and one["kind"] == kind]
        delays = [delay for one in found for delay in one["delays"]]
        writes = max((count for one in found for count in one["writes"]), default=0)
        if delays:
            lines.append(f"| {name} ({len(delays)} phases) | {_spread(delays)} | {writes} | p99 < 0.3 |")
    bursts = [one for one in results if one["what"] == "burst"]
    if bursts:
        delays = [delay for one in bursts for delay in one["delays"]]
        count = bursts[0]["queues"]
        writes = max(one["writes"] for one in bursts) / count
        cpu = median(one["cpu_seconds"] for one in bursts)
        name = f"a burst in {count} sleeping queues ({len(bursts)} times, {cpu:.2f} s of CPU each)"
        lines.append(f"| {name} | {_spread(delays)} | {writes:g} each | p99 < 2 |")
    sleepers = [one for one in results if one["what"] == "sleepers"]
    if sleepers:
        delays = [delay for one in sleepers for delay in one["delays"]]
        first, writes = sleepers[0], max(one["writes"] / one["queues"] for one in sleepers)
        name = f"a message in {first['queues']} of {first['of']:,} sleeping queues ({len(sleepers)} times)"
        lines.append(f"| {name} | {_spread(delays)} | {writes:g} each | p99 < 0.3 |")
    return "\n".join(lines)


def _spread(delays: Sequence[float]) -> str:
    p99 = quantiles(delays, n=100, method="inclusive")[98]
    return f"{median(delays):.3f} | {p99:.3f} | {max(delays):.3f}"


def _fleets(results: Sequence[Result]) -> str:
    head = ("RedisQueues", "all applied after, s", *(title for _, title, _ in _COLUMNS))
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for one in results:
        if one["what"] != "fleet":
            continue
        name = "none" if one["state"] == "empty" else f"{one['queues']:,} {one['state']}"
        applied = f"{one['applied']:.1f}" if "applied" in one else ""
        cells = (f"{one[field]:,.{digits}f}" for field, _, digits in _COLUMNS)
        lines.append(f"| {name} | {applied} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pods(results: Sequence[Result]) -> str:
    return "\n".join(
        f"A pod more: {one['bytes'] / 1024:.1f} KiB, "
        f"{1000 * one['seconds_per_change']:.2f} ms of CPU for each change that a watch tells."
        for one in results
        if one["what"] == "pods"
    )
