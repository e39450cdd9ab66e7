"""From the marks of rounds to a table: how long each part between a message and its handler takes."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Each part ends with a mark. Who is at work in it, and what it is.
MARKS = {
    "scaled": ("operator", "the message is seen, `/scale` is written"),
    "created": ("Kubernetes", "Deployment, ReplicaSet, pod"),
    "scheduled": ("Kubernetes", "the pod has a node"),
    "sandbox": ("Kubernetes", "volumes, sandbox, network"),
    "process": ("Kubernetes", "the container is made"),
    "started": ("Kubernetes", "it is started"),
    "python": ("worker", "Python starts"),
    "imported": ("worker", "imports, until the handler's own"),
    "handler": ("worker", "first claim, until the handler is called"),
}
Result = dict[str, Any]


def parts(sent: float, marks: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each part, by the mark that ends it.

    A mark that came out of order, as news of the API may be late, ends its part together with the next one.
    Raises KeyError when a mark is missing.
    """
    times = [marks[name] for name in MARKS]
    for index in reversed(range(len(times) - 1)):
        times[index] = min(times[index], times[index + 1])
    return {
        name: after - before for name, (before, after) in zip(MARKS, pairwise([sent, *times]), strict=True)
    }


def markdown(results: Sequence[Result]) -> str:
    """A table of the parts, in milliseconds, for each variant."""
    variants = dict.fromkeys(one["variant"] for one in results)
    return "\n\n".join(_table(name, [one for one in results if one["variant"] == name]) for name in variants)


def _table(variant: str, results: Sequence[Result]) -> str:
    rounds = [one["parts"] for one in results]
    whole = [sum(one.values()) for one in rounds]
    lines = [
        f"| {variant}: {len(rounds)} rounds | whose | p50 ms | p99 ms | of all |",
        "|---|---|---:|---:|---:|",
    ]

    def row(what: str, who: str, values: Sequence[float]) -> None:
        lines.append(f"| {what} | {who} | {_spread(values)} | {sum(values) / sum(whole):.0%} |")

    for name, (who, what) in MARKS.items():
        row(what, who, [one[name] for one in rounds])
    for who in ("Kubernetes", "worker"):
        row("together", who, _of(who, rounds))
    row("**message → handler**", "", whole)
    lines.append(f"| message → pod Ready | | {_spread([one['ready'] for one in results])} | |")
    return "\n".join(lines)


def _of(who: str, rounds: Sequence[Mapping[str, float]]) -> list[float]:
    names = [name for name, (whose, _) in MARKS.items() if whose == who]
    return [sum(one[name] for name in names) for one in rounds]


def _spread(seconds: Sequence[float]) -> str:
    values = sorted(seconds)
    high = values[min(len(values) - 1, int(len(values) * 0.99))]
    return f"{median(values) * 1000:.0f} | {high * 1000:.0f}"
