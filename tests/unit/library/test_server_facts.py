"""How the answers of servers read, those of hosted and of other kinds included."""

from __future__ import annotations

from typing import Any

import pytest

from redis_message_queue.server import ServerFacts, facts_of, merged, open_questions

REFUSED: dict[str, Any] = {}
SAFE = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "role": "master"}


def answered(info: dict[str, Any], settings: dict[str, str]) -> ServerFacts:
    """What a server is taken for that answers so; a setting that is left out is refused."""
    asked = open_questions(info)
    return facts_of(info, {name: value for name, value in settings.items() if name in asked})


@pytest.mark.parametrize(
    ("info", "settings", "facts"),
    [
        (SAFE, {}, ServerFacts("noeviction", persistent=True, replica=False)),
        ({**SAFE, "aof_enabled": 0}, {"save": "3600 1"}, ServerFacts("noeviction", True, False)),
        ({**SAFE, "aof_enabled": 0}, {"save": ""}, ServerFacts("noeviction", False, False)),
        ({**SAFE, "aof_enabled": 0}, {}, ServerFacts("noeviction", None, False)),
        (REFUSED, {}, ServerFacts()),
        (REFUSED, {"save": ""}, ServerFacts()),
        ({"aof_enabled": "odd"}, {"appendonly": "yes"}, ServerFacts(None, True)),
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
    info: dict[str, Any], settings: dict[str, str], facts: ServerFacts
) -> None:
    assert answered(info, settings) == facts


@pytest.mark.parametrize(
    ("info", "asked"),
    [
        (SAFE, ()),
        ({**SAFE, "aof_enabled": 0}, ("save",)),
        ({"role": "master"}, ("maxmemory-policy", "appendonly", "save")),
    ],
)
def test_what_info_tells_is_not_asked_again(info: dict[str, Any], asked: tuple[str, ...]) -> None:
    assert open_questions(info) == asked


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
