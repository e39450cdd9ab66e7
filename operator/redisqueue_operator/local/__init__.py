"""Local mode: the same resource and the same engine on worker processes of this machine."""

from redisqueue_operator.local.definitions import DefinitionError, Definitions
from redisqueue_operator.local.platform import LocalPlatform

__all__ = ["DefinitionError", "Definitions", "LocalPlatform"]
