"""What a worker tells of its leases: to its handlers, in its metrics and to its liveness probe."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support import queues
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue.consumer import Claim, Consumer
from redis_message_queue.keys import QueueKeys
from redis_message_queue.leases import LeaseKeeper, Leases
from redisqueue_worker import lease_renewal
from redisqueue_worker.context import Contexts
from redisqueue_worker.health import stalled
from redisqueue_worker.in_flight import InFlight, InFlightTable
from redisqueue_worker.lease_renewal import KeeperPulse, keep_leases
from redisqueue_worker.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE_SECONDS = 60.0
SHORT_LEASE_SECONDS = 0.4


class Desk:
    """A worker's messages, leases and metrics, without the loops around them."""

    def __init__(self, connect: Callable[[], redis.Redis], lease_seconds: float = LEASE_SECONDS) -> None:
        settings: Any = SimpleNamespace(
            queue="jobs", key_separator="::", visibility_timeout_seconds=lease_seconds, heartbeat_seconds=0.1
        )
        self.messages = InFlightTable()
        self.metrics = Metrics()
        self.keeper = LeaseKeeper(connect)
        self.leases: Leases = keep_leases(self.keeper, settings, self.messages, self.metrics)

    def take(self, claim: Claim) -> InFlight:
        contexts = Contexts(None, None, self.metrics)  # type: ignore[arg-type]
        message = InFlight(claim, contexts.of(claim, threading.Event()))
        self.messages.add(message)
        self.leases.add(claim)
        return message

    def renewals(self, result: str) -> float:
        return self.metrics.lease_renewals[result]


@pytest.fixture
def desk(redis_url: str) -> Iterator[Desk]:
    """On the shared server."""
    desk = Desk(lambda: redis.Redis.from_url(redis_url))
    yield desk
    assert desk.keeper.close()


def claim(client: redis.Redis) -> Claim:
    queues.publish(client, QueueKeys("jobs"), "x")
    return Consumer(client, "jobs", visibility_timeout_seconds=LEASE_SECONDS).claim(1).claims[0]


def test_renewals_are_counted_and_a_lost_lease_is_told(desk: Desk, redis_client: redis.Redis) -> None:
    message = desk.take(claim(redis_client))
    eventually(lambda: desk.renewals("ok") >= 2)
    assert not message.context.lease_lost
    redis_client.delete("jobs::processing:lease_tokens")
    eventually(lambda: message.context.lease_lost)
    assert message.lost
    assert desk.messages.leased() == []
    assert (desk.renewals("lost"), desk.renewals("error")) == (1, 0)


def test_a_handler_that_has_ended_is_told_nothing(desk: Desk, redis_client: redis.Redis) -> None:
    message = desk.take(claim(redis_client))
    message.finished = True
    redis_client.delete("jobs::processing:lease_tokens")
    eventually(lambda: len(desk.leases) == 0)
    assert not message.context.lease_lost
    assert desk.renewals("lost") == 0


def test_a_lease_that_nobody_could_renew_in_time_is_told_and_is_still_renewed_on() -> None:
    def refuse() -> redis.Redis:
        raise redis.ConnectionError("gone")

    desk = Desk(refuse, SHORT_LEASE_SECONDS)
    began = time.monotonic()
    message = desk.take(Claim("stored", "1", None, "x", 1))
    eventually(lambda: message.context.lease_lost)
    assert time.monotonic() - began > SHORT_LEASE_SECONDS - 0.05
    assert not message.lost
    assert desk.messages.leased() == [message.claim]
    eventually(lambda: desk.renewals("error") >= 3)
    desk.keeper.close()


def test_a_keeper_that_hangs_is_a_stalled_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang() -> redis.Redis:
        free.wait(PATIENCE_SECONDS)
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(lease_renewal, "AWAY_GRACE_SECONDS", 3)
    desk = Desk(hang)
    pulses = {"leases": KeeperPulse(desk.keeper)}
    message = desk.take(Claim("stored", "1", None, "x", 1))
    assert stalled(pulses) == []
    eventually(lambda: stalled(pulses) == ["leases"])
    free.set()
    eventually(lambda: not stalled(pulses))
    desk.leases.remove(message.claim)
    assert stalled(pulses) == []
    desk.keeper.close()
