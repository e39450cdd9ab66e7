"""The redrive of a RedisQueueRedrive goes on when its Redis was away, or is another one by now."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from tests.support import server_binaries as binaries
from tests.support.one_name import one_name
from tests.support.redisqueue_cases import redrive
from tests.support.resources import manifest
from tests.support.servers import QUEUE, cluster_nodes

from redis_message_queue.connection import ConnectionSettings
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.apply.writer import TokenBucket
from redisqueue_operator.observe.redis.bulkhead import Bulkhead
from redisqueue_operator.redrive.resource import Redrive, parse
from redisqueue_operator.redrive.room import Room
from redisqueue_operator.redrive.run import LARGEST_LETTER_BYTES, carry_out

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.redrive.status import RedriveState

KEYS = QueueKeys(QUEUE)


class Around:
    """What a redrive needs of its controller, over one Redis; its pauses do what the test wants meanwhile."""

    def __init__(self, settings: ConnectionSettings, meanwhile: Callable[[], object]) -> None:
        self.connections: Any = self
        self.connect = ConnectionSettings.connect_async
        self.slots: Bulkhead[str] = Bulkhead(total=1, each=1, slow_seconds=3)
        self.room = Room(LARGEST_LETTER_BYTES)
        self.batches = TokenBucket(1000, 1000)
        self.told: list[RedriveState] = []
        self._settings = settings
        self._meanwhile = meanwhile

    async def settings(self, _rq: RedisQueue, *, fresh: bool = False) -> ConnectionSettings:
        return self._settings

    async def queue(self, _key: Key) -> dict[str, Any] | None:
        return manifest(queue={"name": QUEUE})

    async def pause(self, _redrive: Redrive, _seconds: float) -> None:
        self._meanwhile()

    async def report(self, _redrive: Redrive, state: RedriveState) -> bool:
        self.told.append(state)
        return True


def wanted(**spec: Any) -> Redrive:
    obj = redrive(queueRef={"name": "emails"}, **spec)
    obj["metadata"] |= {"uid": "u", "generation": 1, "resourceVersion": "1"}
    return parse(obj)


async def test_a_redrive_waits_for_its_cluster() -> None:
    with cluster_nodes(binaries.valkey) as (server, nodes):
        for node in nodes:
            node.stop(kill=True)

        def back() -> None:
            for node in nodes:
                node.start()
            with server.blocking() as client:
                client.lpush(KEYS.dead_letter, "a", "b")

        around = Around(ConnectionSettings(url=nodes[0].url.removesuffix("/0"), mode="Cluster"), back)
        ended = await carry_out(wanted(), around)
        reasons = {state.reason for state in around.told}
        assert reasons & {"ConnectionRefused", "ClusterDown", "ConnectionLost", "Timeout"}
        assert ended.progress is not None
        assert ended.progress.moved == 2


async def test_a_redrive_goes_on_with_the_new_master_behind_the_name() -> None:
    with one_name(binaries.valkey) as pair:
        pair.old.lpush(KEYS.dead_letter, *(f"letter {number}" for number in range(250)))
        around = Around(ConnectionSettings(url=pair.name.url), lambda: None)
        report, moved = around.report, 0

        async def fail_over(redrive: Redrive, state: RedriveState) -> bool:
            nonlocal moved
            if not moved and state.progress is not None:
                moved = state.progress.moved
                pair.fail_over()
            return await report(redrive, state)

        around.report = fail_over  # type: ignore[method-assign]
        ended = await carry_out(wanted(), around)
        assert 0 < moved < 250
        assert ended.progress is not None
        assert ended.progress.moved == 250
        assert (pair.new.llen(KEYS.pending), pair.new.llen(KEYS.dead_letter)) == (250, 0)


async def test_the_log_tells_once_that_a_redrive_waits_and_that_it_goes_on(
    redis_url: str, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    redis_client.lpush(KEYS.dead_letter, "a")
    urls = iter(["redis://127.0.0.1:1", "redis://127.0.0.1:1", redis_url])
    around = Around(ConnectionSettings(url="redis://127.0.0.1:1"), lambda: None)

    async def away_at_first(_rq: RedisQueue, *, fresh: bool = False) -> ConnectionSettings:
        return ConnectionSettings(url=next(urls))

    around.settings = away_at_first  # type: ignore[method-assign]
    ended = await carry_out(wanted(), around)
    assert ended.phase == "Succeeded"
    first = next(index for index, message in enumerate(caplog.messages) if "waits: Conn" in message)
    assert [message.partition(" goes on")[1] for message in caplog.messages[first + 1 :]] == [" goes on"]


@pytest.mark.parametrize("left", ["being deleted", "gone"])
async def test_nothing_more_moves_into_a_queue_whose_redisqueue_leaves_and_it_goes_on_in_the_next_one(
    redis_url: str, redis_client: redis.Redis, left: str
) -> None:
    redis_client.lpush(KEYS.dead_letter, *(f"letter {number}" for number in range(1000)))
    there = manifest(queue={"name": QUEUE}, deletionPolicy="Drain")
    leaving = {**there, "metadata": {**there["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    reason = "QueueDeleting" if left == "being deleted" else "QueueMissing"
    now: dict[str, Any] | None = there
    waited: list[int] = []

    def look() -> None:
        nonlocal now
        if around.told[-1].reason == reason:  # a busy machine may have it wait for Redis, too
            waited.append(redis_client.llen(KEYS.pending))
            now = now if len(waited) == 1 else there

    around = Around(ConnectionSettings(url=redis_url), look)
    report = around.report

    async def queue(_key: Key) -> dict[str, Any] | None:
        return now

    async def leave(redrive: Redrive, state: RedriveState) -> bool:
        nonlocal now
        if state.progress is not None and not waited:
            now = leaving if left == "being deleted" else None
        return await report(redrive, state)

    around.queue, around.report = queue, leave  # type: ignore[method-assign]
    ended = await carry_out(wanted(), around)
    assert [state.phase for state in around.told if state.reason == reason] == ["Pending"] * 2
    assert 0 < waited[0] == waited[1] < 1000
    assert (ended.phase, redis_client.llen(KEYS.pending)) == ("Succeeded", 1000)


async def test_one_that_has_moved_all_is_done_although_its_redisqueue_leaves(
    redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.lpush(KEYS.dead_letter, "a", "b")
    around = Around(ConnectionSettings(url=redis_url), lambda: None)

    async def queue(_key: Key) -> dict[str, Any] | None:
        return None if redis_client.llen(KEYS.pending) else manifest(queue={"name": QUEUE})

    around.queue = queue  # type: ignore[method-assign]
    for most in (1, None):
        redis_client.delete(KEYS.pending)
        ended = await carry_out(wanted(**({} if most is None else {"max": most})), around)
        assert ended.phase == "Succeeded"
