"""The demo gives up on what stands still, and never on what is slow."""

from __future__ import annotations

import _pydecimal
import asyncio
import inspect
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_operator.cli.screen import Screen
from redisqueue_operator.demo.checks import checks
from redisqueue_operator.demo.corpus import File
from redisqueue_operator.demo.driver import Driver
from redisqueue_operator.demo.handler import describe, handlings_key, reports_key
from redisqueue_operator.demo.stage import StageError

if TYPE_CHECKING:
    import redis

RUN = "demo-run"
LARGE = Path(inspect.getfile(_pydecimal))
FILES = [File(f"copy-{number}.py", LARGE) for number in range(40)]
REPORT = json.dumps(describe(LARGE.read_bytes()) | {"python": "0.0"})


class Stage:
    """Its only worker reports every file as soon as it is published; `idle`: it has none."""

    poll_seconds = 0.0

    def __init__(self, redis_url: str, client: redis.Redis, *, idle: bool = False) -> None:
        self.redis_url, self.client, self.idle = redis_url, client, idle
        self.path = [(0, 0), (1, 1)]

    async def replicas(self) -> tuple[int | None, int]:
        if self.idle:
            return 0, 0
        if self.client.llen(f"{RUN}::pending") < len(FILES):
            return self.path[bool(self.client.exists(f"{RUN}::pending"))]
        for file in FILES:
            self.client.hset(reports_key(RUN), file.name, REPORT)
            self.client.hset(handlings_key(RUN), file.name, 1)
        self.client.delete(f"{RUN}::pending")
        return 1, 1


async def test_a_count_that_takes_longer_than_its_patience_is_shown_and_waited_for(
    redis_url: str, redis_client: redis.Redis
) -> None:
    shown = io.StringIO()
    driver = Driver(RUN, Stage(redis_url, redis_client), FILES, Screen(shown), patience_seconds=0.8)
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        outcome = await driver.play()
    assert [check.text for check in checks(outcome) if not check.ok] == []
    assert f"done {len(FILES)} of {len(FILES)}, checked " in shown.getvalue()


async def test_what_stands_still_ends_it_with_what_was_seen_last(
    redis_url: str, redis_client: redis.Redis
) -> None:
    stage = Stage(redis_url, redis_client, idle=True)
    driver = Driver(RUN, stage, FILES, Screen(io.StringIO()), patience_seconds=0.8)
    with pytest.raises(ExceptionGroup) as raised:
        await driver.play()
    (error,) = raised.value.exceptions
    assert isinstance(error, StageError)
    assert f"pending {len(FILES)}, in flight 0, replicas 0 (0 ready), done 0" in str(error)
