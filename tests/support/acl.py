"""The users of the library's README under "ACL", as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import redis

README = Path(__file__).parents[2] / "worker" / "redis_message_queue" / "README.md"
PASSWORD = "secret"


def documented(queue: str) -> dict[str, list[str]]:
    """Role → its rules, with this queue in place of `jobs`."""
    section = README.read_text("utf-8").partition("\n## ACL\n")[2].partition("\n## ")[0]
    lines = section.replace("\\\n", " ").splitlines()
    users = [line.removeprefix("ACL SETUSER ").split() for line in lines if line.startswith("ACL SETUSER ")]
    return {name: [re.sub(r"^~jobs::", f"~{queue}::", rule) for rule in rules] for name, *rules in users}


ROLES = ("producer", "worker", "operator", "caretaker")


def grant(client: redis.Redis, user: str, *roles: str, queue: str = "{jobs}") -> None:
    """Make a user that has the rights of these roles together on a queue, and the password `secret`."""
    rules = documented(queue)
    words = list(dict.fromkeys(word for role in roles for word in rules[role]))
    client.execute_command("ACL", "SETUSER", user, "reset", *words)
