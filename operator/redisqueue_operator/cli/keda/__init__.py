"""A ScaledObject of KEDA and its Deployment → a RedisQueue. Pure: objects in, objects and notes out."""

from redisqueue_operator.cli.keda.convert import Converted, convert
from redisqueue_operator.cli.keda.fields import NotConvertible, Note

__all__ = ["Converted", "NotConvertible", "Note", "convert"]
