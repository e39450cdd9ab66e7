"""An operator beside another one: it says so once, and yields when the other one answers. Pure.

Children that a newer operator wrote are never written by an older one. Where the newer one was replaced (a
rollback), somebody must still scale its workers; where it is at work, two would fight over the status for
ever. Which of the two it is shows in the status: the older one says NewerOperator, the newer one corrects
that. Of two operators that are equals, as two releases that both watch everything, the one whose children
these are not says ForeignOperator; when nobody corrects that the other one is gone, and it takes them over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import conditions_of

if TYPE_CHECKING:
    from redisqueue_operator.observe.facts import ApplyOutcome

NEWER = "NewerOperator"
FOREIGN = "ForeignOperator"
ANSWER_SECONDS = 5.0
"""How long another operator that is at work may take to correct the status."""
YIELD_SECONDS = 600.0
"""How long an object is left alone once it did."""


@dataclass(frozen=True, slots=True)
class Precedence:
    """What is known of another operator on one object. Times are the engine's clock."""

    told_at: float | None = None
    """When we wrote that another one is in charge."""
    yields_until: float = float("-inf")

    def told(self, outcome: ApplyOutcome, now: float) -> Precedence:
        """After a status was written with this outcome."""
        if not is_another(outcome):
            return Precedence()
        return self if self.told_at is not None else replace(self, told_at=now)

    def after(self, outcome: ApplyOutcome, status: dict[str, Any] | None, now: float) -> Precedence:
        """After a look that found this outcome and, on the object, this status."""
        if not is_another(outcome):
            return Precedence()
        told = conditions_of(status).get("Ready", {}).get("reason") == outcome.reason
        if self.told_at is None and told:
            return Precedence(told_at=now)  # by the process before this one
        if self.told_at is not None and not told:
            return Precedence(yields_until=now + YIELD_SECONDS)
        return self

    def may_scale(self, outcome: ApplyOutcome, now: float) -> bool:
        """Whether the number of workers is ours to write: nobody objected in time."""
        if not is_another(outcome):
            return True
        return self.told_at is not None and now - self.told_at >= ANSWER_SECONDS


def is_another(outcome: ApplyOutcome) -> bool:
    """Whether the children are another operator's."""
    return outcome.reason in (NEWER, FOREIGN)
