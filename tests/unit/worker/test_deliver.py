"""`deliver` says what a worker would do with a message, to handlers of every kind."""

from __future__ import annotations

import asyncio
import decimal
import signal
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict
from tests.support.frozen_clock import freeze

from redisqueue_worker import Context, DeadLetter, Registry, Retry
from redisqueue_worker.exceptions import HandlerError, InvalidPayload
from redisqueue_worker.retry_policy import HandlerTimeout
from redisqueue_worker.testing import Delivery, Enqueued, deliver, deliver_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID = UUID("6a1f1d1e-6f0a-4c57-9a0e-0d8a43f0c001")


@dataclass
class Order:
    id: UUID
    amount: decimal.Decimal


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int


def failing(_payload: str) -> None:
    raise ValueError("no disk")


async def failing_async(_payload: str) -> None:
    await asyncio.sleep(0)
    raise ValueError("no disk")


def test_a_payload_is_what_the_annotation_asks_for_and_the_value_what_the_handler_returns() -> None:
    def handle(order: Order) -> Order:
        return order

    order = Order(ID, decimal.Decimal("7.50"))
    assert deliver(handle, order) == Delivery("done", value=order)
    assert deliver(handle, {"id": str(ID), "amount": "7.50", "new": 1}).value == order
    assert deliver(handle, f'{{"id": "{ID}", "amount": 7.50}}').value == order


def test_a_payload_that_does_not_fit_is_a_dead_letter_with_the_worker_s_reason() -> None:
    def handle(order: Order) -> None: ...

    delivery = deliver(handle, {"id": str(ID)})
    assert (delivery.state, delivery.reason) == ("dead", "invalid payload: field amount is missing")
    assert isinstance(delivery.exception, InvalidPayload)


def test_what_cannot_be_enqueued_is_an_error_of_the_test() -> None:
    with pytest.raises(TypeError, match="at: object cannot be said in JSON"):
        deliver(failing, {"at": object()})


@pytest.mark.parametrize("handler", [failing, failing_async])
def test_a_failure_is_retried_after_the_worker_s_backoff(handler: Callable[..., object]) -> None:
    first, second = deliver(handler, "x"), deliver(handler, "x", deliveries=2)
    assert (first.state, first.reason) == ("retried", "ValueError: no disk")
    assert isinstance(first.exception, ValueError)
    assert first.delay_seconds is not None
    assert second.delay_seconds is not None
    assert 1 <= first.delay_seconds <= 1.25
    assert 2 <= second.delay_seconds <= 2.5
    slow = deliver(handler, "x", deliveries=9, failures=3, max_attempts=5, retry_initial_seconds=60)
    assert slow.delay_seconds is not None
    assert 300 <= slow.delay_seconds <= 375


def test_the_last_attempt_is_a_dead_letter_and_an_only_one_a_failure() -> None:
    last = deliver(failing, "x", deliveries=3)
    assert (last.state, last.reason) == ("dead", "ValueError: no disk (attempt 3 of 3)")
    assert last.delay_seconds is None
    assert deliver(failing, "x", deliveries=3, failures=0).state == "retried"
    assert deliver(failing, "x", max_attempts=1).state == "failed"


def test_what_the_handler_asks_for_is_what_it_gets() -> None:
    def handle(seconds: str) -> None:
        if seconds == "never":
            raise DeadLetter("no such customer")
        raise Retry(float(seconds) if seconds else None)

    later = deliver(handle, "30", deliveries=9)
    assert (later.state, later.delay_seconds) == ("retried", 30)
    assert isinstance(later.exception, Retry)
    by_backoff = deliver(handle, "", retry_initial_seconds=8).delay_seconds
    assert by_backoff is not None
    assert 8 <= by_backoff <= 10
    never = deliver(handle, "never")
    assert (never.state, never.reason) == ("dead", "no such customer")


def test_work_that_is_left_undone_has_failed() -> None:
    assert "raise it" in deliver(lambda payload: Retry(1), "x").reason
    assert "SystemExit" in deliver(lambda payload: exit(3), "x").reason


def test_the_type_chooses_the_function_of_a_registry() -> None:
    registry = Registry()

    @registry("mail")
    def mail(job: Strict) -> tuple[str, int]:
        return "mail", job.id

    @registry("call")
    async def call(job: dict[str, Any]) -> tuple[str, object]:
        return "call", job["id"]

    assert deliver(registry, {"id": 1}, type="mail").value == ("mail", 1)
    assert deliver(registry, {"id": 2, "type": "call"}).value == ("call", 2)
    unknown = deliver(registry, {"id": 3}, type="fax")
    assert (unknown.state, unknown.reason) == ("retried", "unknown type 'fax'; there are mail, call")


def test_a_handler_knows_the_facts() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)

    def handle(job: dict[str, Any], context: Context) -> tuple[object, ...]:
        return context.id, context.queue, context.delivery_count, context.enqueued_at, context.draining

    facts = {"message_id": "m", "queue": "mails", "deliveries": 2, "enqueued_at": at, "draining": True}
    assert deliver(handle, {}, **facts).value == ("m", "mails", 2, at, True)  # type: ignore[arg-type]


def test_what_it_enqueues_is_told_and_goes_nowhere() -> None:
    async def handle(order: Order, context: Context) -> None:
        await context.enqueue_async(order, queue="mails", delay_seconds=5)
        await context.publish_async("text")
        raise Retry(1)

    order = Order(ID, decimal.Decimal(1))
    by_enqueue, by_publish = deliver(handle, order).enqueued
    assert by_enqueue.message_id
    assert by_enqueue == Enqueued(order, "mails", by_enqueue.message_id, delay_seconds=5)
    assert by_publish == Enqueued("text", "tests")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_that_overruns_its_time_has_timed_out(asynchronous: bool) -> None:
    over, ended = threading.Event(), threading.Event()

    def handle(_payload: str) -> None:
        over.wait()
        ended.set()

    async def handle_async(_payload: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    delivery = deliver(handle_async if asynchronous else handle, "x", timeout_seconds=0.01)
    assert (delivery.state, delivery.reason[:16]) == ("retried", "timeout: ran for")
    assert isinstance(delivery.exception, HandlerTimeout)
    assert ended.is_set() is asynchronous, "a task is cancelled, a thread cannot be"
    over.set()
    assert ended.wait(60)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_may_move_its_deadline(asynchronous: bool) -> None:
    def wait_for_the_old_deadline(context: Context) -> bool:
        before = context.remaining_seconds
        context.extend(600)
        return before is not None and before <= 0.05

    async def handle_async(_payload: str, context: Context) -> bool:
        moved = wait_for_the_old_deadline(context)
        await asyncio.sleep(0.1)
        return moved

    def handle(_payload: str, context: Context) -> bool:
        moved = wait_for_the_old_deadline(context)
        threading.Event().wait(0.1)
        return moved

    delivery = deliver(handle_async if asynchronous else handle, "x", timeout_seconds=0.05)
    assert (delivery.state, delivery.value) == ("done", True)


def test_without_a_timeout_a_function_runs_in_the_thread_of_its_test_and_leaves_no_trace() -> None:
    digits = decimal.getcontext().prec

    def handle(_payload: str) -> threading.Thread:
        decimal.getcontext().prec = 3
        return threading.current_thread()

    def named(payload: str) -> str:
        return handle(payload).name

    assert deliver(named, "x").value == threading.current_thread().name
    assert decimal.getcontext().prec == digits


def interrupted(_payload: str) -> None:
    raise KeyboardInterrupt


async def interrupted_async(_payload: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [interrupted, interrupted_async])
@pytest.mark.parametrize("seconds", [None, 60])
def test_an_interrupt_ends_the_tests(handler: Callable[..., object], seconds: float | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        deliver(handler, "x", timeout_seconds=seconds)


@pytest.mark.parametrize("handler", [interrupted, interrupted_async])
async def test_so_it_does_inside_an_event_loop(handler: Callable[..., object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        await deliver_async(handler, "x")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where whoever began the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("seconds", [None, 60])
def test_ctrl_c_while_an_async_handler_waits_cancels_it_and_ends_the_tests(seconds: float | None) -> None:
    ends: list[str] = []

    async def handle(_payload: str) -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 10)
        finally:
            await asyncio.sleep(0.01)
            ends.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        deliver(handle, "x", timeout_seconds=seconds)
    assert ends == ["cleaned up"]


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_a_thread_is_waited_for_ends_the_tests() -> None:
    over = threading.Event()

    def handle(_payload: str) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        over.wait()

    with pytest.raises(KeyboardInterrupt):
        deliver(handle, "x", timeout_seconds=10)
    over.set()


async def test_inside_an_event_loop_there_is_deliver_async() -> None:
    here = asyncio.get_running_loop()

    async def handle(_payload: str) -> bool:
        return asyncio.get_running_loop() is here

    def handle_in_a_thread(_payload: str) -> bool:
        return asyncio.run(handle("x"))

    assert (await deliver_async(handle, "x")).value is True
    assert (await deliver_async(handle_in_a_thread, "x")).value is False
    assert (await deliver_async(failing_async, "x", deliveries=3)).state == "dead"
    assert (await deliver_async(failing, "x", timeout_seconds=60)).state == "retried"
    with pytest.raises(RuntimeError, match="await deliver_async"):
        deliver(handle, "x")


async def test_a_thread_and_a_task_time_out_inside_an_event_loop_too() -> None:
    over = threading.Event()
    assert (await deliver_async(lambda payload: over.wait(), "x", timeout_seconds=0.01)).state == "retried"
    over.set()

    async def handle(_payload: str) -> None:
        await asyncio.Event().wait()

    assert (await deliver_async(handle, "x", timeout_seconds=0.01, max_attempts=1)).state == "failed"


def test_time_passes_for_a_timeout_where_a_test_has_frozen_it() -> None:
    async def handle_async(_payload: str) -> None:
        await asyncio.Event().wait()

    over = threading.Event()
    with freeze("2026-03-01"):
        assert deliver(handle_async, "x", timeout_seconds=0.01).reason.startswith("timeout: ")
        assert deliver(lambda payload: over.wait(), "x", timeout_seconds=0.01).reason.startswith("timeout: ")
    over.set()


def test_what_a_context_logs_is_in_caplog(caplog: pytest.LogCaptureFixture) -> None:
    def handle(payload: str, context: Context) -> None:
        context.logger.warning("saw %s", payload)

    deliver(handle, "x", message_id="m-7")
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["message_id"]) == ("saw x", "m-7")


async def test_a_test_that_is_cancelled_cancels_the_handler() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def handle(_payload: str) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    test = asyncio.create_task(deliver_async(handle, "x"))
    await began.wait()
    test.cancel()
    with pytest.raises(asyncio.CancelledError):
        await test
    assert ended.is_set(), "and waits for it"


def test_the_traceback_of_what_nobody_asked_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    deliver(failing, "x")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError
    caplog.clear()
    deliver(lambda payload: "fine", "x")
    assert not caplog.records


@pytest.mark.parametrize(
    ("facts", "error", "told"),
    [
        ({"delivries": 2}, TypeError, "'delivries'; there are cancelled, deliveries"),
        ({"deliveries": 0}, ValueError, "deliveries: 0 must be"),
        ({"max_attempts": True}, ValueError, "max_attempts: True must be"),
        ({"timeout_seconds": 0}, ValueError, "timeout_seconds: 0 must be above 0"),
        ({"max_attempts": 11}, ValueError, "max_attempts: 11 must not exceed max_delivery_count: 10"),
        ({"max_delivery_count": -1}, ValueError, "max_delivery_count: -1 must be"),
        ({"retry_initial_seconds": "1"}, ValueError, "retry_initial_seconds: '1'"),
        ({"retry_initial_seconds": 301}, ValueError, "301 must not exceed retry_max_seconds: 300; give both"),
        ({"enqueued_at": datetime(2026, 3, 1)}, ValueError, "time zone"),  # noqa: DTZ001
        ({"failures": 3}, ValueError, "failures: 3 must be less than deliveries: 1"),
    ],
)
def test_a_fact_that_cannot_be_is_named(facts: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        deliver(lambda payload: None, {}, **facts)


def test_fields_need_an_object_and_a_handler_must_be_one() -> None:
    for payload, kind in ([1], "list"), ("x", "str"), ("1", "int"), (b"\xff", "bytes"), ("", "str"):
        with pytest.raises(TypeError, match=f"type: .* which is no JSON object but of type {kind}"):
            deliver(failing, payload, type="mail")
    with pytest.raises(HandlerError, match=r"must take \(payload\)"):
        deliver(lambda: None, "x")
    with pytest.raises(HandlerError, match="no handler"):
        deliver(Registry(), "x")
    with pytest.raises(HandlerError, match="cannot import 'nowhere'"):
        deliver("nowhere:handle", "x")
