"""How many workers a queue needs: `decide` turns what was observed into one number and its reasons.

Pure: plain data in, plain data out; time is an argument.
"""

from redisqueue_operator.decide.scaling.decide import decide
from redisqueue_operator.decide.scaling.decision import Ceiling, Decision, Rates, Term
from redisqueue_operator.decide.scaling.explain import explain
from redisqueue_operator.decide.scaling.history import STEP_SECONDS, History
from redisqueue_operator.decide.scaling.live_pods import is_hung, reports_by_pod, survivors, to_retire
from redisqueue_operator.decide.scaling.policy import Mode, Policy

__all__ = [
    "STEP_SECONDS",
    "Ceiling",
    "Decision",
    "History",
    "Mode",
    "Policy",
    "Rates",
    "Term",
    "decide",
    "explain",
    "is_hung",
    "reports_by_pod",
    "survivors",
    "to_retire",
]
