"""When a queue is looked at again, where its server tells of the first change of what a look reads. Pure.

Rest needs three steps in this order: the server is asked to tell (the queue is armed), then the queue is
looked at, and that look finds it asleep while the same arming still stands. Whatever changes afterwards is
told, and whatever changed before was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

LOOK_SECONDS = 15.0
"""A queue at rest is looked at all the same after so long: a cluster's slot may have moved without a word."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 30.0
_MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Waking:
    """How the next message of one queue will be seen. Times in seconds, of any one clock.

    Attributes:
        arming: number of the arming that stands; None while the server tells nothing.
        before: the arming that stood when the latest look began.
        rests: nothing has to be looked at before `look_at`.
        in_vain: how often in a row the server told, and a look found nothing to do.
        told: the server told of a change that no look has found yet.
        arm_at: not to be armed before.
        due: a delayed message is what ends the rest; nobody tells of that.
        untold: the arming under which a look found a message that nobody had told of.
        silent: another look came, and it has not been told of since: the server does not tell.
    """

    arming: int | None = None
    before: int | None = None
    rests: bool = False
    look_at: float = 0.0
    in_vain: int = 0
    told: bool = False
    arm_at: float = 0.0
    due: bool = False
    untold: int | None = None
    silent: bool = False


def armed(waking: Waking, number: int) -> Waking:
    """From now on the server tells; what it did not tell of has to be looked at once more."""
    return replace(waking, arming=number, rests=False)


def told(waking: Waking) -> Waking:
    """Something of it has changed: it is told once for each arming."""
    return replace(waking, arming=None, rests=False, told=True)


def lost(waking: Waking) -> Waking:
    """Nobody will tell any more, and something may have gone untold."""
    return replace(waking, arming=None, rests=False)


def looking(waking: Waking) -> Waking:
    """A look begins."""
    return replace(waking, before=waking.arming)


def looked(waking: Waking, *, sleeps: bool, now: float, due_seconds: float | None, share: float) -> Waking:
    """A look has ended.

    Args:
        waking: what was known, with what happened during the look.
        sleeps: it found nothing to do, and nobody there.
        now: when it ended.
        due_seconds: until the first delayed message is due; None without any.
        share: how much of the longest pause is taken, up to 1: not all are to be looked at at one moment.
    """
    if not sleeps:
        # What was written at the very moment of a look is told a little later, and long before the next one.
        silent = waking.untold is not None and waking.untold == waking.arming
        untold = waking.arming if waking.rests and not waking.due else waking.untold
        return replace(
            waking, rests=False, told=False, in_vain=0, arm_at=now, untold=untold, silent=silent, due=False
        )
    if waking.told:
        vain = waking.in_vain + 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(vain - 1, _MOST_DOUBLINGS))
        waking = replace(waking, told=False, in_vain=vain, arm_at=now + pause)
    elif waking.rests:
        waking = replace(waking, in_vain=0)
    pause = LOOK_SECONDS * share
    if due_seconds is not None:
        pause = min(pause, due_seconds)
    rests = waking.arming is not None and waking.arming == waking.before
    due = due_seconds is not None
    return replace(waking, rests=rests, look_at=now + pause, due=due, untold=None, silent=False)


def is_due(waking: Waking, now: float) -> bool:
    """Whether the queue has to be looked at with the next sample."""
    return not waking.rests or now >= waking.look_at
