"""The schedules of a file that `redisqueue local` runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.redisqueue_cases import redis_queue, schedule
from tests.support.waiting import until

from redis_message_queue import envelope
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main
from redisqueue_operator.local.definitions import Definitions
from redisqueue_operator.local.schedules import LocalSchedules

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def definitions(*schedules: dict[str, Any]) -> Definitions:
    return Definitions.parse(yaml.safe_dump_all([redis_queue(), *schedules]))


def messages(client: redis.Redis, queue: str) -> list[str | bytes]:
    stored: Any = client.lrange(QueueKeys(queue).pending, 0, -1)
    return [envelope.decode(each).payload for each in reversed(stored)]


def test_the_schedules_of_a_file_are_kept_and_follow_it(redis_url: str, redis_client: redis.Redis) -> None:
    """With a queue of the file, and with one that only they name: whatever Redis it says."""
    each_second = schedule(schedule="* * * * * *", payload="mine")
    elsewhere = {"redis": {"url": "redis://elsewhere"}, "queue": {"name": "beats"}}
    other = schedule(schedule="* * * * * *", payload="beat", queueRef=None, **elsewhere)
    other["metadata"]["name"] = "other"
    said: list[str] = []

    async def story() -> None:
        kept = LocalSchedules(
            definitions(each_second, other), redis_url=redis_url, say=lambda name, line: said.append(name)
        )
        await until(lambda: len(messages(redis_client, "emails")) >= 2)
        await until(lambda: len(messages(redis_client, "beats")) >= 1)
        kept.load(definitions({**each_second, "spec": {**each_second["spec"], "suspend": True}}))
        await until(lambda: "nightly" in said)
        before = messages(redis_client, "emails")
        kept.load(definitions(each_second))
        await until(lambda: len(messages(redis_client, "emails")) > len(before))
        await kept.close()

    asyncio.run(story())
    assert set(messages(redis_client, "emails")) == {b"mine"}
    assert set(messages(redis_client, "beats")) == {b"beat"}


def test_one_that_was_read_from_a_cluster_owes_nothing(redis_url: str, redis_client: redis.Redis) -> None:
    """Of its times of long ago the last one is still within its deadline."""
    last = datetime.now(UTC) - timedelta(hours=3)
    daily = f"{last.minute} {last.hour} * * *"
    old = schedule(schedule=daily, startingDeadlineSeconds=86_400, payload="late")
    old["metadata"] |= {"uid": "u", "creationTimestamp": "2024-01-01T00:00:00Z"}
    old["status"] = {"countsFrom": "2024-01-01T00:00:00Z", "lastScheduleTime": "2024-01-02T00:00:00Z"}
    beats = {"redis": {"url": "redis://elsewhere"}, "queue": {"name": "beats"}}
    beat = schedule(schedule="* * * * * *", payload="beat", queueRef=None, **beats)
    beat["metadata"]["name"] = "beat"

    async def story() -> None:
        kept = LocalSchedules(definitions(old, beat), redis_url=redis_url, say=lambda *_: None)
        await until(lambda: len(messages(redis_client, "beats")) >= 2)
        await kept.close()

    asyncio.run(story())
    assert messages(redis_client, "emails") == []


def test_a_schedule_of_no_queue_is_told(redis_url: str) -> None:
    said: list[str] = []

    async def story() -> None:
        kept = LocalSchedules(
            definitions(schedule(queueRef={"name": "none"})),
            redis_url=redis_url,
            say=lambda name, line: said.append(f"{name}: {line}"),
        )
        await until(lambda: bool(said))
        await kept.close()

    asyncio.run(story())
    assert said == ["nightly: QueueMissing: spec.queueRef.name: no RedisQueue 'none' in the file: add it"]


@pytest.mark.parametrize("command", ["lint", "local"])
def test_a_schedule_that_never_ticks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text(yaml.safe_dump_all([redis_queue(), schedule(schedule="0 0 30 2 *")]))
    assert main([command, str(file)]) != 0
    told = "".join(capsys.readouterr())
    assert "spec.schedule: '0 0 30 2 *' never ticks, because no such day exists" in told
