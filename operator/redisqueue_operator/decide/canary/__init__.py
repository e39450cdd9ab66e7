"""`rollout.strategy: Versioned`, pure: which version runs where, and whether the new one stays."""

from redisqueue_operator.decide.canary.judge import Action, Gate, Seen, Tally, Verdict, judge
from redisqueue_operator.decide.canary.rollout import Phase, Rollout, Stage, Versions, advance, stage_of
from redisqueue_operator.decide.canary.share import Split, missing_canaries, share, split

__all__ = [
    "Action",
    "Gate",
    "Phase",
    "Rollout",
    "Seen",
    "Split",
    "Stage",
    "Tally",
    "Verdict",
    "Versions",
    "advance",
    "judge",
    "missing_canaries",
    "share",
    "split",
    "stage_of",
]
