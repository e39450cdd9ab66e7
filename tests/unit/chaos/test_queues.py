"""The RedisQueues of the chaos are such as the operator takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.queues import KINDS, Kind, resource

from redisqueue_operator import api
from redisqueue_operator.api.validation import validate


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_valid_and_reaches_redis_its_way(kind: Kind) -> None:
    made = resource(kind, "chaos", ["10.0.0.1:1", "10.0.0.1:2"], Path("/books"), "1", 20)
    assert validate(made) == []
    assert (api.parse(made).spec.redis.mode == "Sentinel") == kind.sentinel


def test_both_ways_are_taken() -> None:
    assert {kind.sentinel for kind in KINDS} == {True, False}
