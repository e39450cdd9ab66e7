"""What the demo proves, as pure functions over what it saw."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Report = dict[str, Any]
NAMES_SHOWN = 3


@dataclass(frozen=True)
class Outcome:
    """Everything that the checks look at. Reports are by file id."""

    files: Sequence[str]
    accepted: int
    reports: Mapping[str, Report]
    handlings: Mapping[str, int]
    direct: Mapping[str, Report]
    left_over: Mapping[str, int]
    """Messages still somewhere in the queue at the end, by place."""
    replicas: Sequence[int] = field(default_factory=list)
    """Every number of replicas that was asked for, in order, without repetition."""


@dataclass(frozen=True)
class Check:
    """One verdict; `text` says what holds, or what does not."""

    ok: bool
    text: str


def checks(outcome: Outcome) -> list[Check]:
    """All verdicts on one run."""
    return [
        none_lost(outcome),
        each_once(outcome),
        same_totals(outcome),
        queue_empty(outcome),
        scaled(outcome),
    ]


def none_lost(outcome: Outcome) -> Check:
    """Every published message has its report, and there is no report of anything else."""
    total, missing = len(outcome.files), sorted(set(outcome.files) - set(outcome.reports))
    strange = sorted(set(outcome.reports) - set(outcome.files))
    if outcome.accepted != total:
        return Check(False, f"only {outcome.accepted} of {total} messages were accepted by publish")
    if missing or strange:
        return Check(
            False,
            f"{len(missing)} files without a report {some(missing)}, {len(strange)} unknown {some(strange)}",
        )
    return Check(True, f"none lost: {total} messages published, {total} reports")


def each_once(outcome: Outcome) -> Check:
    """No file was handled twice."""
    repeated = sorted(name for name, count in outcome.handlings.items() if count != 1)
    if repeated or len(outcome.handlings) != len(outcome.files):
        return Check(
            False,
            f"{len(outcome.handlings)} files handled, {len(repeated)} not exactly once {some(repeated)}",
        )
    return Check(
        True, f"each handled once: {sum(outcome.handlings.values())} handlings of {len(outcome.files)} files"
    )


def same_totals(outcome: Outcome) -> Check:
    """The reports agree with the direct count, file by file.

    Files that one of two different Python versions cannot parse are compared by their content alone.
    """
    here = minor(platform.python_version())
    wrong: list[str] = []
    unparsed_elsewhere = 0
    for name, direct in outcome.direct.items():
        report = outcome.reports.get(name, {})
        other_python = minor(str(report.get("python", ""))) != here
        by_content = other_python and bool(direct["error"]) != bool(report.get("error"))
        unparsed_elsewhere += by_content
        fields = ("sha256",) if by_content else ("sha256", "functions", "classes")
        if any(report.get(key) != direct[key] for key in fields):
            wrong.append(name)
    if wrong or len(outcome.direct) != len(outcome.files):
        return Check(False, f"{len(wrong)} reports differ from the direct count {some(wrong)}")
    functions, classes = (
        sum(report[key] for report in outcome.reports.values()) for key in ("functions", "classes")
    )
    text = f"totals equal the direct count: {functions} functions, {classes} classes, every SHA-256"
    if unparsed_elsewhere:
        text += (
            f" ({unparsed_elsewhere} files by digest only: the workers' Python differs from this one, {here})"
        )
    return Check(True, text)


def queue_empty(outcome: Outcome) -> Check:
    """Nothing waits, runs, failed or was given up."""
    places = [f"{count} {place}" for place, count in outcome.left_over.items() if count]
    return Check(
        not places,
        f"left in the queue: {', '.join(places)}" if places else "the queue is empty, no dead letters",
    )


def scaled(outcome: Outcome) -> Check:
    """The workers came from zero and went back to zero."""
    path = " → ".join(map(str, outcome.replicas))
    seen = outcome.replicas
    ok = bool(seen) and seen[0] == 0 and max(seen) > 0 and seen[-1] == 0
    return Check(ok, f"replicas went {path}" if seen else "no replicas were ever seen")


def minor(version: str) -> str:
    """`3.13` of `3.13.1`."""
    return ".".join(version.split(".")[:2])


def some(names: Sequence[str]) -> str:
    """The first few names in brackets; nothing for none."""
    if not names:
        return ""
    rest = f", … {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"({', '.join(names[:NAMES_SHOWN])}{rest})"
