"""Rights as rules of Redis: the same in code and in the README."""

from __future__ import annotations

from pathlib import Path

import pytest

import redis_message_queue
from redis_message_queue.acl import DUTIES, ROLES, rules, set_user
from redis_message_queue.keys import QueueKeys

README = Path(redis_message_queue.__file__).with_name("README.md")


def test_the_readme_shows_the_rules_of_each_role() -> None:
    section = README.read_text("utf-8").partition("\n## ACL\n")[2].partition("\n## ")[0]
    lines = section.replace("\\\n", " ").splitlines()
    shown = [" ".join(line.split()) for line in lines if line.startswith("ACL SETUSER ")]
    keys = QueueKeys("jobs")
    assert shown == [set_user(role, *rules(role, keys)).replace("PASSWORD", "secret") for role in ROLES]
    assert DUTIES.keys() == set(ROLES)


def test_what_a_name_has_of_a_pattern_is_meant_literally() -> None:
    assert rules("worker", QueueKeys("a*[b]", ":"))[0] == "~a\\*\\[b\\]:*"
    assert rules("producer", QueueKeys("{q}?"))[:3] == (
        "~{q}\\?::pending*",
        "~{q}\\?::delayed*",
        "~{q}\\?::deduplication::*",
    )


def test_a_word_is_quoted_as_redis_cli_reads_it() -> None:
    assert set_user("ann", '~my "queue"::*') == 'ACL SETUSER ann on >PASSWORD "~my \\"queue\\"::*"'


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, []),
        ({"cluster": True}, ["+cluster|slots", "+command", "+asking"]),
        ({"selects": True, "names_itself": True}, ["+select", "+client|setname"]),
        ({"tracks": True}, ["+client|tracking"]),
    ],
)
def test_where_more_is_needed(options: dict[str, bool], more: list[str]) -> None:
    keys = QueueKeys("jobs")
    assert rules("operator", keys, **options) == (*rules("operator", keys), *more)
