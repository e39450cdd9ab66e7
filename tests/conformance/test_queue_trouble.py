"""Redis out of reach, interrupts, foreign clients: what the library promises when things go wrong."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.waiting import eventually

import redis_message_queue
from redis_message_queue import (
    BaseGracefulInterruptHandler,
    ClaimedMessage,
    RedisGateway,
    RedisMessageQueue,
    RetryBudgetExhaustedError,
)
from redis_message_queue.interrupt_handler import GracefulInterruptHandler

if TYPE_CHECKING:
    from tests.support.faces import Face


class Flag(BaseGracefulInterruptHandler):
    """An interrupt that is falsy, as a user's may be."""

    def __init__(self) -> None:
        self.is_set = False

    def __len__(self) -> int:
        return 0

    def is_interrupted(self) -> bool:
        return self.is_set


class EvalOnly:
    """A client double that offers nothing but `eval`, with replies prepared by the test."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.calls: list[tuple[Any, ...]] = []

    def eval(self, *args: Any) -> Any:
        self.calls.append(args)
        reply = self.replies.pop(0) if self.replies else None
        if isinstance(reply, Exception):
            raise reply
        return reply


class EvalOnlyAsync(EvalOnly):
    async def eval(self, *args: Any) -> Any:
        return super().eval(*args)


def double(face: Face, *replies: Any) -> Any:
    return EvalOnly(*replies) if face.name == "sync" else EvalOnlyAsync(*replies)


async def test_an_idempotent_call_is_repeated_until_the_budget_is_spent(face: Face) -> None:
    client = double(face, *[redis.ConnectionError("gone")] * 100)
    gateway = face.gateway(redis_client=client, retry_budget_seconds=3, retry_max_delay_seconds=0.2)
    began = time.monotonic()
    with pytest.raises(RetryBudgetExhaustedError, match=r"after \d+ attempts") as caught:
        await face.call(gateway.publish_message, "q", "x", "k")
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    assert time.monotonic() - began >= 3
    assert len(client.calls) > 3
    assert len(set(client.calls)) == 1


@pytest.mark.parametrize(
    "error",
    [redis.ResponseError("ERR no"), redis.AuthenticationError("no"), ConnectionError("builtin")],
)
async def test_other_errors_are_raised_at_once(face: Face, error: Exception) -> None:
    client = double(face, error)
    gateway = face.gateway(redis_client=client)
    with pytest.raises(type(error)):
        await face.call(gateway.remove_message, "q", "x")
    assert len(client.calls) == 1


async def test_a_budget_of_zero_means_one_attempt(face: Face) -> None:
    client = double(face, redis.TimeoutError("slow"))
    gateway = face.gateway(redis_client=client, retry_budget_seconds=0)
    with pytest.raises(redis.TimeoutError):
        await face.call(gateway.remove_message, "q", "x")


async def test_an_interrupt_ends_retries_with_the_original_error(face: Face) -> None:
    flag = Flag()
    client = double(face, *[redis.ConnectionError("gone")] * 100)
    waits = {"retry_initial_delay_seconds": 600, "retry_max_delay_seconds": 600, "retry_budget_seconds": 6000}
    gateway = face.gateway(redis_client=client, interrupt=flag, **waits)
    timer = threading.Timer(0.1, lambda: setattr(flag, "is_set", True))
    timer.start()
    with pytest.raises(redis.ConnectionError):
        await face.call(gateway.remove_message, "q", "x")
    assert len(client.calls) == 2


async def test_an_interrupted_wait_does_not_ask_redis(face: Face) -> None:
    flag = Flag()
    flag.is_set = True
    client = double(face)
    queue = face.queue(client=client, interrupt=flag)
    async with face.process(queue) as payload:
        assert payload is None
    assert client.calls == []


async def test_a_double_may_answer_with_stored_and_token_alone(face: Face) -> None:
    client = double(face, ["raw", "7"], 1)
    queue = face.queue(client=client)
    async with face.process(queue) as payload:
        assert payload == "raw"
    assert len(client.calls) == 2


async def test_methods_of_a_gateway_may_be_replaced_at_run_time(face: Face) -> None:
    queue = face.queue(client=double(face, ["raw", "7"]))
    removed: list[tuple[Any, ...]] = []

    def remove(*args: Any, **options: Any) -> bool:
        removed.append((*args, options))
        return True

    async def remove_async(*args: Any, **options: Any) -> bool:
        return remove(*args, **options)

    async with face.process(queue):
        queue._gateway.remove_message = remove if face.name == "sync" else remove_async
    assert removed == [("{jobs}::processing", "raw", {"lease_token": "7"})]


async def test_a_gateway_that_breaks_its_contract_is_told(face: Face) -> None:
    def wait(self: object, source: str, target: str) -> object:
        return 5

    async def wait_async(self: object, source: str, target: str) -> object:
        return 5

    methods = dict.fromkeys(face.package.AbstractRedisGateway.__abstractmethods__, lambda self: None)
    methods["wait_for_message_and_move"] = wait if face.name == "sync" else wait_async
    queue = face.queue(gateway=type("Own", (face.package.AbstractRedisGateway,), methods)())
    with pytest.raises(TypeError, match=r"wait_for_message_and_move.*int"):
        async with face.process(queue):
            raise AssertionError("never runs")


async def test_a_leaseless_gateway_with_a_heartbeat_is_told_once(face: Face) -> None:
    methods: dict[str, Any] = dict.fromkeys(
        face.package.AbstractRedisGateway.__abstractmethods__, lambda self, *args: None
    )

    async def plain(self: object, *args: Any) -> str:
        return "plain"

    async def done(self: object, *args: Any) -> bool:
        return True

    if face.name == "sync":
        methods |= {
            "wait_for_message_and_move": lambda self, *args: "plain",
            "remove_message": lambda self, *args: True,
        }
    else:
        methods |= {"wait_for_message_and_move": plain, "remove_message": done}
    own = type("Own", (face.package.AbstractRedisGateway,), methods)
    own.message_visibility_timeout_seconds = 30
    queue = face.queue(gateway=own(), heartbeat_interval_seconds=1)
    with (
        pytest.warns(RuntimeWarning, match="gateway returned no lease token"),
        pytest.raises(TypeError, match="visibility timeouts must return ClaimedMessage"),
    ):
        async with face.process(queue):
            raise AssertionError("never runs")


@pytest.mark.parametrize("exit_error", [KeyboardInterrupt, SystemExit])
async def test_an_exit_settles_nothing(
    face: Face, redis_client: redis.Redis, exit_error: type[BaseException]
) -> None:
    queue = face.queue(enable_failed_queue=True)
    await face.call(queue.publish, "x")
    with pytest.raises(exit_error):
        async with face.process(queue):
            raise exit_error
    assert redis_client.llen("{jobs}::processing") == 1
    assert not redis_client.exists("{jobs}::failed")


async def test_an_unstorable_claim_is_told_and_the_message_is_pending(
    face: Face, redis_client: redis.Redis
) -> None:
    queue = face.queue()
    await face.call(queue.publish, "x")
    redis_client.set("{jobs}::processing:lease_token_counter", "no number")
    with pytest.raises(redis_message_queue.LuaScriptError, match="pending again"):
        async with face.process(queue):
            raise AssertionError("never runs")
    assert (redis_client.llen("{jobs}::pending"), redis_client.llen("{jobs}::processing")) == (1, 0)


def test_a_heartbeat_that_cannot_start_leaves_the_message_for_redelivery(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client, heartbeat_interval_seconds=1)
    queue.publish("x")

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"), queue.process_message():
        raise AssertionError("never runs")
    assert redis_client.llen("{jobs}::processing") == 1


def test_no_heartbeat_thread_long_outlives_its_message(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client, heartbeat_interval_seconds=0.05)
    queue.publish("x")
    name = "redis-message-queue-lease-heartbeat"
    with queue.process_message():
        assert name in {thread.name for thread in threading.enumerate()}
    eventually(lambda: name not in {thread.name for thread in threading.enumerate()}, "it has ended")


def test_drain_from_a_signal_handler_does_not_wait_for_the_interrupted_claim(
    redis_client: redis.Redis,
) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    drained: list[bool] = []
    previous = signal.signal(signal.SIGUSR1, lambda *_: drained.append(queue.drain()))
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with queue.process_message() as payload:
            assert payload is None
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert drained == [True]


def test_a_signal_ends_an_idle_wait(redis_client: redis.Redis) -> None:
    handler = GracefulInterruptHandler(verbose=False, signals=(signal.SIGUSR1,))
    try:
        waits_long = RedisGateway(
            redis_client=redis_client, interrupt=handler, message_wait_interval_seconds=600
        )
        queue = RedisMessageQueue("{jobs}", gateway=waits_long)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with queue.process_message() as payload:
            assert payload is None
    finally:
        handler.reset()


def test_concurrent_drains_agree(redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(queue.drain())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


def test_events_of_queues_that_share_a_gateway_go_to_the_right_queue(redis_client: redis.Redis) -> None:
    gateway = RedisGateway(
        redis_client=redis_client, message_visibility_timeout_seconds=30, message_wait_interval_seconds=0
    )
    seen: dict[str, list[str]] = {"{a}": [], "{b}": []}
    queues = {
        name: RedisMessageQueue(
            name, gateway=gateway, on_event=lambda event, name=name: seen[name].append(str(event.operation))
        )
        for name in seen
    }
    queues["{a}"].publish("x")
    with queues["{a}"].process_message() as payload:
        assert payload == b"x"
    redis_client.lpush("{a}::processing", "lost")
    redis_client.zadd("{a}::processing:lease_deadlines", {"lost": 1})
    with queues["{a}"].process_message() as payload:
        assert payload == b"lost"
    assert seen == {"{a}": ["publish", "claim", "ack", "claim_reclaim", "claim", "ack"], "{b}": []}


@pytest.mark.foreign_keys("lists with names of the caller's")
def test_a_claim_answers_with_a_claimed_message(redis_client: redis.Redis) -> None:
    gateway = RedisGateway(redis_client=redis_client, message_visibility_timeout_seconds=30)
    redis_client.lpush("{jobs}::in", "raw")
    assert gateway.wait_for_message_and_move("{jobs}::in", "{jobs}::work") == ClaimedMessage(b"raw", "1")


async def test_a_gateway_with_the_hook_reports_through_the_queue(face: Face) -> None:
    class Own(face.package.AbstractRedisGateway):  # type: ignore[name-defined, misc]
        def _set_event_emitter(self, queue: str, emitter: Any) -> None:
            self.queue, self.emitter = queue, emitter

    for name in Own.__abstractmethods__:
        setattr(Own, name, lambda self: None)
    Own.__abstractmethods__ = frozenset()
    events: list[Any] = []
    gateway = Own()
    queue = face.queue(gateway=gateway, on_event=face.callback(events.append))
    await face.call(gateway.emitter, "dlq", "success", destination_queue="dead")
    assert queue.key.name == gateway.queue == "{jobs}"
    assert [(str(e.operation), str(e.outcome), e.destination_queue) for e in events] == [
        ("dlq", "success", "dead")
    ]
