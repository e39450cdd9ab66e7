"""Users with the documented rights, on a server of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.acl import ROLES, Role, rules
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis

PASSWORD = "secret"
__all__ = ["PASSWORD", "ROLES", "grant"]


def grant(client: redis.Redis, user: str, *roles: Role, queue: str = "{jobs}") -> None:
    """Make a user that has the rights of these roles together, and the password `secret`.

    The queue may be a pattern that names several.
    """
    words = dict.fromkeys(word for role in roles for word in rules(role, QueueKeys("N")))
    granted = (word.replace("~N", f"~{queue}") for word in words)
    client.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", *granted)
