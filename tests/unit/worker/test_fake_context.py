"""A fake context has all that the worker's has, keeps what the handler does, refuses what a queue refuses."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from redis_message_queue.exceptions import ConfigurationError
from redisqueue_worker import Context
from redisqueue_worker.testing import Enqueued, FakeContext


def test_without_facts_it_is_a_first_delivery_without_a_deadline() -> None:
    context = FakeContext()
    assert isinstance(context, Context)
    assert (context.delivery_count, context.queue, context.deadline) == (1, "tests", None)
    assert (context.draining, context.lease_lost, context.enqueued_at, context.trace) == (
        False,
        False,
        None,
        {},
    )
    assert not context.enqueued


def test_it_says_what_it_was_told() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    context = FakeContext(
        message_id=None, enqueued_at=at, trace={"traceparent": "00-1"}, draining=True, lease_lost=True
    )
    assert (context.id, context.enqueued_at, context.trace) == (None, at, {"traceparent": "00-1"})
    assert context.draining
    assert context.lease_lost


def test_a_test_may_begin_the_drain_while_the_handler_runs() -> None:
    context = FakeContext()
    context.mark_draining()
    assert context.draining


def test_deadlines_move_as_the_worker_s_do_and_each_time_is_kept() -> None:
    context = FakeContext(timeout_seconds=60)
    context.extend(600)
    assert context.extended == [600]
    assert context.remaining_seconds is not None
    assert context.remaining_seconds > 60
    with pytest.raises(ValueError, match="seconds"):
        context.extend(0)
    assert context.extended == [600]


async def test_what_is_enqueued_is_kept_in_its_order() -> None:
    context, job = FakeContext(queue="jobs"), {"a": [1]}
    receipt = context.enqueue(job, at_front=True)
    job["a"].append(2)
    assert context.publish("text", delay_seconds=1)
    own = await context.enqueue_async({}, queue="mails", message_id="mine")
    assert (receipt.enqueued, own.message_id) == (True, "mine")
    assert context.enqueued == (
        Enqueued({"a": [1]}, "jobs", receipt.message_id, at_front=True),
        Enqueued("text", "jobs", delay_seconds=1),
        Enqueued({}, "mails", "mine"),
    )


def test_a_key_that_is_taken_makes_a_duplicate() -> None:
    context = FakeContext()
    first = context.enqueue({"n": 1}, deduplication_key="k", deduplication_seconds=60)
    second = context.enqueue({"n": 2}, deduplication_key="k")
    assert (second.enqueued, second.first_id) == (False, first.message_id)
    assert context.publish("x", deduplication_key="k") is False
    assert context.publish("x", queue="other", deduplication_key="k") is True
    assert [one.payload for one in context.enqueued] == [{"n": 1}, "x"]


@dataclass
class Guarded:
    """A queue writes `number` alone."""

    number: int
    lock: Any = field(default_factory=threading.Lock, init=False)


class Uncopied(BaseModel):
    number: int

    def __copy__(self) -> Uncopied:
        raise RuntimeError("there is one")

    def __deepcopy__(self, memo: object = None) -> Uncopied:
        raise RuntimeError("there is one")


def test_what_no_deep_copy_can_be_made_of_is_kept_as_it_can_be() -> None:
    context, guarded, uncopied = FakeContext(), Guarded(1), Uncopied(number=1)
    context.enqueue(guarded)
    guarded.number = 2
    context.enqueue(uncopied)
    kept, same = (one.payload for one in context.enqueued)
    assert isinstance(kept, Guarded)
    assert (kept.number, kept.lock) == (1, guarded.lock)
    assert same is uncopied


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"delay_seconds": -1}, ConfigurationError),
        ({"delay_seconds": 1, "at_front": True}, ConfigurationError),
        ({"at": datetime(2026, 3, 1)}, ConfigurationError),  # noqa: DTZ001
        ({"deduplication_seconds": 60}, ConfigurationError),
        ({"message_id": "with space"}, ConfigurationError),
    ],
)
def test_what_a_queue_refuses_is_refused(options: dict[str, Any], error: type[Exception]) -> None:
    context = FakeContext()
    with pytest.raises(error):
        context.enqueue({}, **options)
    with pytest.raises(TypeError):
        context.enqueue(object())
    with pytest.raises(TypeError):
        context.publish([1])  # type: ignore[arg-type]
    assert not context.enqueued
