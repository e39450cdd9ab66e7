"""What a condition says."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Verdict(NamedTuple):
    """What a condition says now."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


NOT_OBSERVED = Verdict("Unknown", "NotObserved", "Not looked at yet.")
