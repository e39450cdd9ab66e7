"""How the answers of servers read, those of hosted and of other kinds included."""

from __future__ import annotations

from typing import Any

import pytest

from redis_message_queue._server_facts import inquiry, merged
from redis_message_queue.server import ServerFacts

REFUSED = None
SAFE = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "role": "master"}


def answered(info: dict[str, Any] | None, settings: dict[str, str]) -> ServerFacts:
    """What a server is taken for that answers so; a setting that is left out is refused."""
    questions = inquiry()
    question = next(questions)
    while True:
        name = question[-1]
        if question == ("INFO",):
            reply = info
        else:
            assert question[0] == "CONFIG GET"
            reply = {name: settings[name]} if name in settings else REFUSED
        try:
            question = questions.send(reply)
        except StopIteration as end:
            facts: ServerFacts = end.value
            return facts


@pytest.mark.parametrize(
    ("info", "settings", "facts"),
    [
        (SAFE, {}, ServerFacts("noeviction", persistent=True, replica=False)),
        ({**SAFE, "aof_enabled": 0}, {"save": "3600 1"}, ServerFacts("noeviction", True, False)),
        ({**SAFE, "aof_enabled": 0}, {"save": ""}, ServerFacts("noeviction", False, False)),
        ({**SAFE, "aof_enabled": 0}, {}, ServerFacts("noeviction", None, False)),
        (REFUSED, {}, ServerFacts()),
        ({}, {"save": ""}, ServerFacts()),
        (
            REFUSED,
            {"appendonly": "yes", "maxmemory-policy": "volatile-lfu"},
            ServerFacts("volatile-lfu", True),
        ),
        (REFUSED, {"appendonly": "no", "save": ""}, ServerFacts(None, False)),
        ({**SAFE, "aof_enabled": "odd", "role": "active-replica"}, {}, ServerFacts("noeviction")),
        ({**SAFE, "role": "slave"}, {}, ServerFacts("noeviction", True, True)),
    ],
)
def test_what_is_not_told_is_unknown(
    info: dict[str, Any] | None, settings: dict[str, str], facts: ServerFacts
) -> None:
    assert answered(info, settings) == facts


def test_a_cluster_is_as_safe_as_the_least_safe_of_its_masters() -> None:
    good = ServerFacts("noeviction", persistent=True, replica=False)
    evicting, forgetful, silent = (
        ServerFacts("allkeys-lru", True, False),
        ServerFacts("noeviction", False, True),
        ServerFacts(),
    )
    assert merged([good, good]) == good
    assert merged([good, evicting]) == evicting
    assert merged([good, forgetful]) == forgetful
    assert merged([good, silent]) == merged([]) == silent
    assert merged([silent, evicting, forgetful]) == ServerFacts("allkeys-lru", False, True)
