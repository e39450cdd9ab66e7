"""The RedisQueue API: typed, parsed and checked by the CustomResourceDefinition, its one source."""

from redisqueue_operator.api.model import Key, RedisQueue, Spec
from redisqueue_operator.api.parsing import parse
from redisqueue_operator.api.validation import Problem, doubts, validate

__all__ = ["Key", "Problem", "RedisQueue", "Spec", "doubts", "parse", "validate"]
