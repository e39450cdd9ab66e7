"""A heartbeat tells that its lease has ended when it has, not when a call that hangs gives up at last."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from tests.support.faces import Face


@pytest.mark.one_node
async def test_the_end_of_a_lease_is_told_while_its_renewal_hangs(
    face: Face, recwarn: pytest.WarningsRecorder
) -> None:
    told = threading.Event()
    events: list[str] = []
    with EmbeddedRedis() as server:
        client = type(face.client()).from_url(server.url)  # as it comes: it repeats for a minute
        queue = face.queue(
            client=client,
            visibility_timeout_seconds=3,
            heartbeat_interval_seconds=0.2,
            on_heartbeat_failure=told.set,
            on_event=face.callback(lambda event: events.append(f"{event.operation}/{event.outcome}")),
        )
        await face.call(queue.publish, "x")
        async with face.process(queue):
            while "lease_renew/success" not in events:  # noqa: ASYNC110 - told by another thread
                await asyncio.sleep(0.02)
            server.process.send_signal(signal.SIGSTOP)
            try:
                assert await asyncio.to_thread(told.wait, PATIENCE_SECONDS)
                await asyncio.sleep(0)
            finally:
                server.process.send_signal(signal.SIGCONT)
        if face.name == "async":
            await client.aclose()
    assert events.count("lease_renew_failed/failure") == 1
    assert events.count("ack/success") == 1  # nobody else took it
    assert [str(each.message) for each in recwarn if "lease" in str(each.message)] == [
        "Failed to renew message lease (RetryBudgetExhaustedError)"
    ]
