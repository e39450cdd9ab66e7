"""`.status` of a RedisQueue: conditions, columns and Events as pure functions of what was seen."""

from redisqueue_operator.decide.status.build import build_status
from redisqueue_operator.decide.status.events import EventRecord, events_between, remarks
from redisqueue_operator.decide.status.worth import COUNTERS_SECONDS, lost_in, without, worth_writing

__all__ = [
    "COUNTERS_SECONDS",
    "EventRecord",
    "build_status",
    "events_between",
    "lost_in",
    "remarks",
    "without",
    "worth_writing",
]
