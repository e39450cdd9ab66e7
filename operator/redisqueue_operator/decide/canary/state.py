"""What is remembered of a rollout, in `.status.rollout`: a restart of the operator changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.canary.judge import Tally
from redisqueue_operator.decide.status.rounding import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping


class Phase(StrEnum):
    WAITING = "Waiting"  # not on trial yet: nobody may start a worker for it
    CANARY = "Canary"  # on trial
    PROMOTING = "Promoting"  # passed: all workers are getting it
    PROMOTED = "Promoted"  # all have it
    ROLLED_BACK = "RolledBack"  # refused: not tried again until the spec changes


@dataclass(frozen=True, slots=True)
class Rollout:
    """The last rollout of a new version.

    Attributes:
        hash: the new version.
        stable_hash: the version that it is to replace.
        since: when the phase began, in seconds since the epoch, whole.
        reason: why it is where it is: that of the last verdict.
        base, stable_base: the tallies when the trial began; None until Redis could be read.
        tally, stable: the tallies since then.
        mark: both tallies when the present piece of an outage began; a restart begins a new piece.
    """

    phase: Phase
    hash: str
    stable_hash: str
    since: int
    reason: str = ""
    message: str = ""
    base: Tally | None = None
    stable_base: Tally | None = None
    tally: Tally = field(default_factory=Tally)
    stable: Tally = field(default_factory=Tally)
    mark: tuple[Tally, Tally] | None = None

    @classmethod
    def of_status(cls, status: Mapping[str, Any]) -> Rollout | None:
        """What `to_status` wrote; None for anything else."""
        try:
            known = status["rollout"]
            return cls(
                phase=Phase(known["phase"]),
                hash=known["hash"],
                stable_hash=known["stableHash"],
                since=int(datetime.fromisoformat(known["since"]).timestamp()),
                reason=known.get("reason", ""),
                message=known.get("message", ""),
                base=_tally(known["base"]) if "base" in known else None,
                stable_base=_tally(known["stableBase"]) if "stableBase" in known else None,
                tally=_tally(known),
                stable=_tally(known.get("stable", {})),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def to_status(self) -> dict[str, Any]:
        """The value of `.status.rollout`."""
        status: dict[str, Any] = {
            "phase": str(self.phase),
            "hash": self.hash,
            "stableHash": self.stable_hash,
            "since": timestamp(self.since),
            "reason": self.reason,
            "message": self.message,
            **_shown(self.tally),
            "stable": _shown(self.stable),
        }
        if self.base is not None and self.stable_base is not None:
            status |= {"base": _shown(self.base), "stableBase": _shown(self.stable_base)}
        return status


def _tally(shown: Mapping[str, int]) -> Tally:
    return Tally(shown.get("successes", 0), shown.get("failures", 0), shown.get("deadLetters", 0))


def _shown(tally: Tally) -> dict[str, int]:
    return {"successes": tally.done, "failures": tally.failed, "deadLetters": tally.dead_letters}
