"""What a handler says of its limits, and what holds for it in a worker with settings of its own."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from redis_message_queue.consumer import Claim, Outcome
from redisqueue_worker import Backoff, Context, Registry
from redisqueue_worker.effective_policy import EffectivePolicy, policies_of
from redisqueue_worker.exceptions import HandlerError, UnknownType
from redisqueue_worker.executors import in_words
from redisqueue_worker.handlers import Handler, handler_of, own_policies
from redisqueue_worker.retry_policy import RetryPolicy, failure_of
from redisqueue_worker.settings import Settings, read_settings
from redisqueue_worker.testing import deliver

LEAST = {"handler": "tasks", "queue": "jobs", "redis_url": "redis://localhost"}


def sync(payload: str) -> None: ...


async def later(payload: str) -> None: ...


def settings(**flags: str) -> Settings:
    return read_settings({**LEAST, **flags}, {})


def registered(function: Any, **said: Any) -> Handler:
    registry = Registry()
    registry("one", **said)(function)
    return handler_of(registry, "tasks")


def policy_of(function: Any, said: dict[str, Any], **flags: str) -> EffectivePolicy:
    return policies_of(registered(function, **said).by_type, settings(**flags))["one"]


@pytest.mark.parametrize(
    ("function", "said", "flags", "shown"),
    [
        (sync, {}, {}, "threads, no timeout, 3 attempts, backoff 1 s to 300 s"),
        (later, {}, {}, "tasks, no timeout, 3 attempts, backoff 1 s to 300 s"),
        (sync, {}, {"slots": "processes"}, "processes, no timeout, 3 attempts, backoff 1 s to 300 s"),
        (
            sync,
            {"max_attempts": 5, "timeout_seconds": 30, "retry": Backoff(2, 600), "slots": "processes"},
            {"max_attempts": "2", "handler_timeout_seconds": "7"},
            "processes, timeout 30 s, 5 attempts, backoff 2 s to 600 s",
        ),
        (
            later,
            {"timeout_seconds": 0.5, "retry": Backoff(max_seconds=9), "slots": "tasks"},
            {"max_attempts": "2", "slots": "processes", "retry_initial_seconds": "3"},
            "tasks, timeout 0.5 s, 2 attempts, backoff 3 s to 9 s",
        ),
        (
            sync,
            {"max_attempts": 1, "retry": Backoff(initial_seconds=4)},
            {"handler_timeout_seconds": "7"},
            "threads, timeout 7 s, 1 attempt, backoff 4 s to 300 s",
        ),
    ],
)
def test_what_is_not_said_is_as_the_worker_has_it(
    function: Any, said: dict[str, Any], flags: dict[str, str], shown: str
) -> None:
    assert str(policy_of(function, said, **flags)) == shown


def test_where_no_handler_says_anything_none_has_a_policy_of_its_own() -> None:
    assert own_policies(registered(sync), settings()) == {}
    assert own_policies(handler_of(sync, "tasks:sync"), settings()) == {}
    assert list(own_policies(registered(sync, max_attempts=2), settings())) == ["one"]


SECONDS = "must be a number of seconds above 0, and at most 1000000000"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"max_attempts": 0}, "max_attempts: 0 must be a whole number from 1 to 1000000000; leave it out"),
        ({"max_attempts": "5"}, "max_attempts: '5' must be a whole number"),
        ({"max_attempts": True}, "max_attempts: True must be a whole number"),
        ({"timeout_seconds": 0}, f"timeout_seconds: 0 {SECONDS}; leave it out for the worker's own"),
        ({"timeout_seconds": float("nan")}, f"timeout_seconds: nan {SECONDS}"),
        ({"timeout_seconds": timedelta(seconds=3)}, f"{SECONDS}; use its total_seconds()"),
        ({"retry": 5}, "retry: 5 must be a Backoff, as in retry=Backoff(initial_seconds=1, max_seconds=600)"),
        ({"retry": Backoff(-1)}, f"retry.initial_seconds: -1 {SECONDS}"),
        ({"retry": Backoff(max_seconds=True)}, f"retry.max_seconds: True {SECONDS}"),
        ({"slots": "fibers"}, "slots: 'fibers' must be one of threads, tasks, processes; leave it out"),
        ({"slots": ["tasks"]}, "slots: ['tasks'] must be one of threads"),
    ],
)
def test_a_limit_that_cannot_be_is_named(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=r"^@handler\('one'\): ") as raised:
        Registry()("one", **said)
    assert problem in str(raised.value)


def test_all_that_is_wrong_with_a_handler_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"max_attempts: .*; timeout_seconds: .*; slots: "):
        Registry()("one", max_attempts=0, timeout_seconds=-1, slots="fibers")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "said", "flags", "problem"),
    [
        (
            sync,
            {"slots": "tasks"},
            {},
            "slots: 'tasks' are for handlers with async def, and this one has def",
        ),
        (
            later,
            {"slots": "threads"},
            {},
            "slots: 'threads' are for handlers with def, and this one has async",
        ),
        (later, {"max_attempts": 2}, {"slots": "threads"}, "slots: 'threads' are for handlers with def"),
        (
            sync,
            {"max_attempts": 20},
            {"max_delivery_count": "10"},
            "max_attempts: 20 must not exceed REDISQUEUE_MAX_DELIVERY_COUNT (--max-delivery-count) = 10",
        ),
        (sync, {"retry": Backoff(9, 3)}, {}, "retry: initial_seconds 9 must not exceed max_seconds = 3"),
        (
            sync,
            {"retry": Backoff(900)},
            {},
            "retry: initial_seconds 900 must not exceed REDISQUEUE_RETRY_MAX_SECONDS max_seconds = 300",
        ),
    ],
)
def test_what_contradicts_the_worker_is_named(
    function: Any, said: dict[str, Any], flags: dict[str, str], problem: str
) -> None:
    with pytest.raises(HandlerError) as raised:
        policy_of(function, said, **flags)
    assert f"@handler('one'): {problem}" in str(raised.value)


def test_deliveries_without_a_limit_limit_no_attempts() -> None:
    assert policy_of(sync, {"max_attempts": 20}, max_delivery_count="0").retries.max_attempts == 20


@pytest.mark.parametrize(
    ("most", "failures", "outcome", "reason"),
    [
        (3, 0, Outcome.RETRY, "unknown type 'fax'"),
        (3, 1, Outcome.RETRY, "unknown type 'fax'"),
        (3, 2, Outcome.DEAD, "unknown type 'fax' (attempt 3 of 3)"),
        (1, 0, Outcome.DEAD, "unknown type 'fax' (attempt 1 of 1)"),
    ],
)
def test_an_unknown_type_is_retried_as_often_as_a_failure_and_then_dead(
    most: int, failures: int, outcome: Outcome, reason: str
) -> None:
    claim = Claim("x", "1", "1", "x", failures + 1, failures=failures)
    found = RetryPolicy(most).settlement(claim, failure_of(UnknownType("unknown type 'fax'")))
    assert (found.outcome, found.reason, found.failed) == (outcome, reason, True)


def test_a_type_of_any_length_is_told_in_a_few_words() -> None:
    delivered = deliver(_failing(), {}, type="x" * 10_000, deliveries=1)
    assert delivered.state == "retried"
    assert delivered.reason.startswith("unknown type 'xxx")
    assert len(delivered.reason) < 200


def _failing() -> Registry:
    registry = Registry()

    @registry("once", max_attempts=1)
    def once(payload: dict[str, Any]) -> None:
        raise RuntimeError("no")

    @registry("patient", max_attempts=9, retry=Backoff(100, 200))
    def patient(payload: dict[str, Any]) -> None:
        raise RuntimeError("no")

    return registry


def test_delivered_in_a_test_a_handler_keeps_its_own_limits() -> None:
    assert deliver(_failing(), {}, type="once").state == "failed"
    patient = deliver(_failing(), {}, type="patient", max_attempts=1)
    assert patient.state == "retried"
    assert patient.delay_seconds is not None
    assert 100 <= patient.delay_seconds <= 125


@pytest.mark.parametrize(
    ("function", "said", "problem"),
    [
        (later, {"slots": "threads"}, "slots: 'threads' are for handlers with def"),
        (sync, {"slots": "tasks"}, "slots: 'tasks' are for handlers with async def"),
        (sync, {"max_attempts": 50}, "max_attempts: 50 must not exceed REDISQUEUE_MAX_DELIVERY_COUNT"),
        (sync, {"retry": Backoff(initial_seconds=1000)}, "retry: initial_seconds 1000 must not exceed"),
    ],
)
def test_what_no_worker_starts_with_is_not_delivered(
    function: Any, said: dict[str, Any], problem: str
) -> None:
    registry = Registry()
    registry("one", **said)(function)
    registry("other")(sync)
    for kind in ("one", "other"):
        with pytest.raises(HandlerError) as raised:
            deliver(registry, {}, type=kind)
        assert f"@handler('one'): {problem}" in str(raised.value)


def test_delivered_as_by_a_worker_with_other_limits_it_may_say_more() -> None:
    registry = Registry()

    @registry("one", max_attempts=50, retry=Backoff(initial_seconds=1000))
    def fail(payload: dict[str, Any]) -> None:
        raise RuntimeError("no")

    found = deliver(registry, {}, type="one", deliveries=49, max_delivery_count=0, retry_max_seconds=1000)
    assert found.state == "retried"
    assert found.delay_seconds is not None
    assert 1000 <= found.delay_seconds <= 1250


def test_a_test_waits_for_no_longer_than_it_says() -> None:
    registry = Registry()

    @registry("one", timeout_seconds=600)
    async def wait(payload: dict[str, Any]) -> None:
        await asyncio.sleep(10)

    @registry("other", timeout_seconds=600)
    async def look(payload: dict[str, Any], context: Context) -> float | None:
        return context.remaining_seconds

    assert deliver(registry, {}, type="one", timeout_seconds=0.01).reason.startswith("timeout: ran for")
    own = deliver(registry, {}, type="other").value
    assert isinstance(own, float)
    assert 60 < own <= 600
    assert deliver(registry, {}, type="other", timeout_seconds=None).value is None


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"tasks"}, "tasks"),
        ({"tasks", "threads"}, "threads and tasks"),
        ({"processes", "tasks", "threads"}, "threads, tasks and processes"),
    ],
)
def test_kinds_of_slots_in_words(kinds: set[str], words: str) -> None:
    assert in_words(kinds) == words
