"""Heartbeats of the queue for threads, over a gateway that a test holds the strings of."""

from __future__ import annotations

import contextlib  # noqa: F401 - for the programs below
import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redis_message_queue import AbstractRedisGateway, ClaimedMessage, QueueEvent, RedisMessageQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "redis-message-queue-lease-heartbeat"


class Gateway(AbstractRedisGateway):
    """Always has a message: "1", "2", …; renews as `answer` says and notes each renewal."""

    message_visibility_timeout_seconds = 30

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.renewed: list[str] = []
        self.here = threading.local()
        """What this thread renewed last: two may renew at once."""
        self.answer: Callable[[str, Any], Any] = lambda message, stop: True

    def wait_for_message_and_move(self, from_queue: str, to_queue: str) -> ClaimedMessage:
        message = str(next(self._numbers))
        return ClaimedMessage(message, f"token {message}")

    def renew_message_lease(
        self, queue: str, message: Any, lease_token: str, *, is_interrupted: Any = None
    ) -> Any:
        assert (queue, lease_token) == ("jobs::processing", f"token {message}")
        self.renewed.append(message)
        self.here.renewed = message
        return self.answer(message, is_interrupted)

    def remove_message(self, queue: str, message: Any, *, lease_token: str | None = None) -> bool:
        return True

    def move_message(
        self, from_queue: str, to_queue: str, message: Any, *, lease_token: str | None = None
    ) -> bool:
        return True

    def publish_message(self, queue: str, message: str, dedup_key: str) -> bool:
        return True

    def add_message(self, queue: str, message: str) -> None:
        raise NotImplementedError

    def trim_queue(self, queue: str, max_length: int) -> None:
        raise NotImplementedError


def carriers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A fresh gateway; afterwards no heartbeat may be left over."""
    yield Gateway()
    eventually(lambda: not carriers())


def queue_of(gateway: Gateway, interval_seconds: float, **options: Any) -> RedisMessageQueue:
    return RedisMessageQueue("jobs", gateway=gateway, heartbeat_interval_seconds=interval_seconds, **options)


def test_each_renewal_is_a_call_of_the_gateway_as_it_is_by_then(gateway: Gateway) -> None:
    events: list[QueueEvent] = []
    queue = queue_of(gateway, 0.02, on_event=events.append)
    mine: list[tuple[Any, ...]] = []
    with queue.process_message():
        eventually(lambda: len(gateway.renewed) > 2)
        gateway.renew_message_lease = lambda *args, **options: bool(mine.append(args)) or True  # type: ignore[method-assign]
        eventually(lambda: len(mine) > 2)
    assert set(mine) == {("jobs::processing", "1", "token 1")}
    told = [f"{event.operation}/{event.outcome}" for event in events]
    assert told[0] == "claim/success"
    assert told.count("ack/success") == 1  # a renewal on its way may be told of after it
    assert set(told[1:]) == {"lease_renew/success", "ack/success"}


def test_a_renewal_that_the_settlement_overtakes_is_no_failure(gateway: Gateway) -> None:
    events: list[QueueEvent] = []
    queue = queue_of(gateway, 0.02, on_event=events.append)
    settled = threading.Event()

    def renew(message: Any, stop: Any) -> bool:
        return not settled.wait(PATIENCE_SECONDS)

    def remove(queue: str, message: Any, *, lease_token: str | None = None) -> bool:
        settled.set()
        eventually(lambda: not carriers())  # the renewal has been answered: there was nothing to renew
        return True

    gateway.answer, gateway.remove_message = renew, remove  # type: ignore[method-assign]
    with queue.process_message():
        eventually(lambda: gateway.renewed)
    assert [f"{event.operation}/{event.outcome}" for event in events] == ["claim/success", "ack/success"]


def test_short_messages_share_one_thread_that_soon_ends(gateway: Gateway) -> None:
    queue = queue_of(gateway, 10)
    seen: set[threading.Thread] = set()
    for _ in range(200):
        with queue.process_message():
            seen.update(carriers())
    assert len(seen) < 50, "one, unless the machine is so slow that it ended meanwhile"
    eventually(lambda: not carriers())
    assert gateway.renewed == []


def test_a_new_message_gets_a_thread_after_the_old_one_ended(gateway: Gateway) -> None:
    queue = queue_of(gateway, 0.02)
    for _ in range(2):
        gateway.renewed.clear()
        with queue.process_message() as message:
            eventually(lambda: gateway.renewed)
            assert set(gateway.renewed) == {message}
        eventually(lambda: not carriers())


def test_a_renewal_that_hangs_delays_no_other_one(gateway: Gateway) -> None:
    free = threading.Event()
    gateway.answer = lambda message, stop: free.wait(PATIENCE_SECONDS) if message == "1" else True
    queue = queue_of(gateway, 0.05)

    def handle() -> None:
        with queue.process_message() as message:
            if message == "1":
                eventually(lambda: gateway.renewed.count("1") and gateway.renewed.count("4") > 3)
                free.set()
            else:
                assert free.wait(PATIENCE_SECONDS)

    with ThreadPoolExecutor(4) as pool:
        for handled in [pool.submit(handle) for _ in range(4)]:
            handled.result()
    assert gateway.renewed.count("1") == 1


def test_all_renewals_may_be_on_their_way_at_once(gateway: Gateway) -> None:
    met = threading.Event()
    together = threading.Barrier(5, action=met.set)
    gateway.answer = lambda message, stop: met.is_set() or together.wait(PATIENCE_SECONDS) >= 0
    queue = queue_of(gateway, 0.05)

    def handle() -> None:
        with queue.process_message():
            assert met.wait(PATIENCE_SECONDS)

    with ThreadPoolExecutor(5) as pool:
        for handled in [pool.submit(handle) for _ in range(5)]:
            handled.result()


def test_without_a_second_thread_renewals_take_turns(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    queue = queue_of(gateway, 0.05)
    with queue.process_message():
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with queue.process_message():
            eventually(lambda: min(gateway.renewed.count("1"), gateway.renewed.count("2")) > 2)
    assert "has to wait for this one" in caplog.text


def test_stop_waits_for_a_renewal_on_its_way_and_tells_when_that_takes_too_long(gateway: Gateway) -> None:
    free = threading.Event()
    stops: list[Any] = []

    def hang(message: str, stop: Any) -> bool:
        stops.append(stop)
        return free.wait(PATIENCE_SECONDS)

    gateway.answer = hang
    events: list[QueueEvent] = []
    queue = queue_of(gateway, 0.02, on_event=events.append)
    with pytest.warns(RuntimeWarning, match="did not stop within"), queue.process_message():  # noqa: PT031
        eventually(lambda: stops)
        assert not stops[0].is_interrupted()
    assert stops[0].is_interrupted()
    assert f"{events[-1].operation}/{events[-1].outcome}" == "heartbeat_stop_timeout/failure"
    told = len(events)
    free.set()
    eventually(lambda: not carriers())
    assert len(events) == told, "what comes of a renewal after the stop is nobody's business"


def test_an_exit_in_a_callback_ends_that_heartbeat_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda crash: crashes.append(crash.exc_type))

    def on_event(event: QueueEvent) -> None:
        if event.operation == "lease_renew" and gateway.here.renewed == "1":
            raise SystemExit

    queue = queue_of(gateway, 0.05, on_event=on_event)
    with (
        pytest.warns(RuntimeWarning, match="heartbeat callback raised SystemExit"),
        queue.process_message() as first,
        queue.process_message() as second,
    ):
        eventually(lambda: gateway.renewed.count("2") > 3)
    assert (first, second) == ("1", "2")
    assert gateway.renewed.count("1") == 1
    assert crashes == [], "the thread that crashes would be that of a worker's leases"


def test_renewals_see_no_context_variable_of_another_message(gateway: Gateway) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: set[tuple[str, str]] = set()

    def remember(message: str, stop: Any) -> bool:
        seen.add((message, variable.get()))
        variable.set(f"of {message}")
        return True

    gateway.answer = remember
    queue = queue_of(gateway, 0.02)
    variable.set("of the handlers")
    with queue.process_message(), queue.process_message():
        eventually(lambda: len(seen) == 4)
    assert seen == {("1", "none"), ("1", "of 1"), ("2", "none"), ("2", "of 2")}


def test_a_heartbeat_that_an_interrupt_kept_from_stopping_ends_all_the_same(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = queue_of(gateway, 0.02)
    heartbeat_of = queue._heartbeat_of

    def interrupted(message: Any) -> Any:
        heartbeat = heartbeat_of(message)

        class Interrupted(type(heartbeat)):  # type: ignore[misc]
            def stop(self) -> bool:
                raise KeyboardInterrupt

        heartbeat.__class__ = Interrupted
        return heartbeat

    monkeypatch.setattr(queue, "_heartbeat_of", interrupted)
    with pytest.raises(KeyboardInterrupt), queue.process_message():
        eventually(lambda: gateway.renewed)
    eventually(lambda: not carriers())


def run(program: str) -> None:
    """Run a program that has this module's names, in a process of its own."""
    folder = str(__file__).rpartition("/")[0]
    begin = f"import sys; sys.path[:0] = {[folder, *sys.path]!r}; from test_heartbeat import *"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{begin}\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_forked_child_has_heartbeats_of_its_own() -> None:
    run("""
import os
gateway = Gateway()
queue = queue_of(gateway, 0.02)
with queue.process_message() as message:
    eventually(lambda: gateway.renewed)
    child = os.fork()
    if not child:
        assert not carriers()
        gateway.renewed.clear()
        with queue.process_message() as other:
            eventually(lambda: len(gateway.renewed) > 2)
        assert set(gateway.renewed) == {other} != {message}, gateway.renewed
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("fine")
""")


def test_an_interrupt_at_any_moment_leaves_no_renewal_and_harms_no_later_message() -> None:
    run("""
import time
import random, signal

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
gateway = Gateway()
queue = queue_of(gateway, 0.01)
for _ in range(3000):
    # RuntimeError: what an interrupted Thread.start() may make of it.
    with contextlib.suppress(KeyboardInterrupt, RuntimeError):
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-6, 80e-6))
            with queue.process_message():
                pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
gateway.renewed.clear()
time.sleep(0.1)
assert gateway.renewed == []
with queue.process_message() as message:
    eventually(lambda: message in gateway.renewed)
print("fine")
""")
