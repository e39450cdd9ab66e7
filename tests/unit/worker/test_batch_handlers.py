"""Handlers of many messages: what they may be, what each call says of each, how a failing batch is cut."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence  # noqa: TC003 - read at run time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_message_queue.consumer import Claim
from redisqueue_worker import (
    BatchContext,
    Context,
    DeadLetter,
    Registry,
    Retry,
    around,
    batch_handler,
    batch_handlers,
)
from redisqueue_worker.batch_handlers import Called, called, called_async
from redisqueue_worker.batching import Batch, Bisection
from redisqueue_worker.effective_policy import policies_of
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.handlers import handler_of
from redisqueue_worker.in_flight import HandlerTimeouts, InFlight, InFlightTable
from redisqueue_worker.metrics import Metrics
from redisqueue_worker.retry_policy import FailureKind, failure_of
from redisqueue_worker.testing import FakeContext, deliver, deliver_batch
from redisqueue_worker.testing.delivery import _Worker


@dataclass
class Document:
    id: int


def documents(*ids: object) -> list[str]:
    return [f'{{"type": "index", "id": {one}}}' for one in ids]


def many_of(function: Any, **limits: Any) -> Any:
    registry = Registry()
    registry.batch("index", **limits)(function)
    return handler_of(registry, "tests").chosen_for(documents(1)[0])


def call(function: Any, *ids: object) -> Any:
    handler, payloads = many_of(function), documents(*ids)
    contexts = [FakeContext(message_id=str(one)) for one in ids]
    if handler.is_async:
        return asyncio.run(called_async(handler, payloads, contexts))
    return called(handler, payloads, contexts)


def kinds(told: Any) -> list[str | None]:
    return [end and end.kind.value for end in told.ends]


@pytest.fixture(params=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Any:
    """Makes a handler of either kind."""

    def of(function: Any) -> Any:
        if request.param == "sync":

            def take(documents: list[Document], context: BatchContext) -> Any:
                return function(documents, context)

            return take

        async def take_async(documents: list[Document], context: BatchContext) -> Any:
            await asyncio.sleep(0)
            return function(documents, context)

        return take_async

    return of


# ---- one call ----


def test_all_are_done_when_it_returns(made: Any) -> None:
    seen: list[Any] = []

    def take(documents: list[Document], context: BatchContext) -> None:
        seen.append((documents, [one.id for one in context.contexts]))

    told = call(made(take), 1, 2, 3)
    assert (told.ends, told.shared) == ((None, None, None), ())
    assert seen == [([Document(1), Document(2), Document(3)], ["1", "2", "3"])]


def test_each_has_an_outcome_of_its_own(made: Any) -> None:
    def take(documents: list[Document], context: BatchContext) -> list[Any]:
        return [None, Retry(5), DeadLetter("never"), ValueError("wrong"), "a value"]

    told = call(made(take), 1, 2, 3, 4, 5)
    assert kinds(told) == [None, "retry", "dead letter", "error", None]
    assert told.shared == ()
    assert told.ends[1].delay_seconds == 5


def test_a_handler_may_use_up_its_list(made: Any) -> None:
    handled: list[int] = []

    def take(documents: list[Document], context: BatchContext) -> Any:
        ids = []
        while documents:
            ids.append(documents.pop().id)
        handled.extend(ids)
        return [DeadLetter("three") if one == 3 else None for one in reversed(ids)] if 3 in ids else None

    assert kinds(call(made(take), 1, 2)) == [None, None]
    assert kinds(call(made(take), 1, 2, 3)) == [None, None, "dead letter"]
    assert handled == [2, 1, 3, 2, 1]


def test_one_that_cannot_be_read_takes_no_other_down(made: Any) -> None:
    seen: list[Any] = []

    def take(documents: list[Document], context: BatchContext) -> list[Any]:
        seen.append([(one.id, of.id) for one, of in zip(documents, context.contexts, strict=True)])
        return [None, Retry(1)]

    told = call(made(take), 1, '"seven"', 3)
    assert kinds(told) == [None, "invalid payload", "retry"]
    assert seen == [[(1, "1"), (3, "3")]]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("odd")])
def test_whatever_reading_raises_no_message_is_done_that_was_not_handled(
    made: Any, error: BaseException
) -> None:
    @dataclass
    class Odd:
        id: int

        def __post_init__(self) -> None:
            if self.id == 2:
                raise error

    seen: list[Any] = []
    of = made(lambda documents, context: seen.extend(one.id for one in documents))
    of.__annotations__["documents"] = list[Odd]
    told = call(of, 1, 2, 3)
    assert [end is None for end in told.ends] == [True, False, True]
    assert (seen, told.shared) == ([1, 3], ())


def test_what_fails_before_messages_are_read_is_shared(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    def no_state() -> Any:
        raise OSError("no scope")

    monkeypatch.setattr(batch_handlers, "own_state", no_state)
    told = call(made(lambda documents, context: pytest.fail("called")), 1, 2)
    assert (kinds(told), told.shared) == (["error"] * 2, (0, 1))


def test_where_none_can_be_read_it_is_not_called(made: Any) -> None:
    told = call(made(lambda documents, context: pytest.fail("called")), '"a"', '"b"')
    assert kinds(told) == ["invalid payload"] * 2


@pytest.mark.parametrize(
    ("error", "divisible"), [(ValueError("no"), True), (DeadLetter("no"), True), (Retry(3), False)]
)
def test_what_it_raises_is_shared(made: Any, error: Exception, divisible: bool) -> None:
    def take(documents: list[Document], context: BatchContext) -> None:
        raise error

    told = call(made(take), 1, '"bad"', 3)
    assert told.shared == (0, 2), "what could not be read has its own failure"
    assert told.divisible is divisible


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ([None], "the batch handler returned 1 outcomes for 2 messages; return None, or one for each"),
        (Retry(1), "the handler returned Retry; raise it"),
        ((one for one in ()), "the handler returned a generator that nobody iterates over"),
    ],
)
def test_a_result_that_tells_nothing_of_each_is_named_and_is_not_tried_again_in_parts(
    made: Any, result: Any, text: str
) -> None:
    told = call(made(lambda documents, context: result), 1, 2)
    assert (told.shared, told.divisible) == ((0, 1), False)
    assert text in told.ends[0].text


def test_an_outcome_that_is_not_done_has_failed(made: Any) -> None:
    told = call(made(lambda documents, context: [Retry, lambda: 1]), 1, 2)
    assert "the outcome of a message is the class Retry; make one of it" in told.ends[0].text
    assert "the batch handler returned a function that nobody calls" in told.ends[1].text
    assert told.shared == ()


def test_the_values_of_a_list_are_results() -> None:
    handler = many_of(lambda documents: [len(documents), {"id": 2}])
    contexts = [
        Context(
            id=None,
            delivery_count=1,
            timeout_seconds=None,
            draining=FakeContext()._drain,
            publisher=FakeContext()._recorder,
            payload="",
            keeps_result=True,
        )
        for _ in range(2)
    ]
    called(handler, documents(1, 2), contexts)
    assert [one.result for one in contexts] == [
        '{"state":"completed","value":2}',
        '{"state":"completed","value":{"id": 2}}',
    ]


def test_the_context_of_a_batch_is_that_of_all() -> None:
    one, other = FakeContext(deliveries=2, timeout_seconds=30), FakeContext(timeout_seconds=60)
    batch = BatchContext([one, other])
    assert (batch.id, batch.delivery_count, batch.queue) == (None, 2, "tests")
    assert batch.remaining_seconds is not None
    assert 0 < batch.remaining_seconds <= 30
    batch.extend(600)
    assert (one.extended, other.extended) == ([600.0], [600.0])
    assert not batch.lease_lost
    other.mark_lease_lost()
    assert batch.lease_lost
    one.mark_draining()
    assert batch.draining
    batch.enqueue({"next": 1})
    assert [message.payload for message in one.enqueued] == [{"next": 1}]


def test_hooks_stand_around_each_call(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    monkeypatch.setattr(around, "_hooks", [])
    seen: list[Any] = []

    @around(handlers="sync")
    def hook(call_next: Any, payload: Any, context: Any) -> Any:
        seen.append(payload)
        return call_next(payload[::-1])

    @around(handlers="async")
    async def hook_async(call_next: Any, payload: Any, context: Any) -> Any:
        seen.append(payload)
        return await call_next(payload[::-1])

    told = call(
        made(lambda documents, context: [None if one.id == 2 else Retry(1) for one in documents]), 1, 2
    )
    assert seen == [[Document(1), Document(2)]]
    assert kinds(told) == [None, "retry"]


def test_a_message_alone_is_a_batch_of_one(made: Any) -> None:
    registry = Registry()
    outcome: list[Any] = [["kept"]]
    registry.batch("index")(made(lambda documents, context: outcome[0]))
    assert deliver(registry, {"id": 1}, type="index").value == "kept"
    outcome[0] = [Retry(9)]
    assert deliver(registry, {"id": 1}, type="index").delay_seconds == 9
    assert deliver(registry, {"id": "x"}, type="index").state == "dead"


# ---- what may be one ----


def plain(documents) -> None:  # type: ignore[no-untyped-def]
    """Texts."""


def of_dicts(documents: list[dict[str, int]]) -> None: ...


def any_json(documents: list) -> None: ...  # type: ignore[type-arg]


def a_sequence(documents: Sequence[Document]) -> None: ...


@pytest.mark.parametrize(
    ("function", "payload", "value"),
    [
        (plain, '{"type": "index"}', '{"type": "index"}'),
        (of_dicts, '{"type": "index", "a": 1}', {"a": 1}),
        (any_json, '{"type": "index", "a": 1}', {"type": "index", "a": 1}),
        (a_sequence, '{"type": "index", "id": 1}', Document(1)),
    ],
)
def test_each_is_read_as_the_list_says(function: Any, payload: str, value: Any) -> None:
    assert many_of(function).read(payload) == value


def no_list(document: Document) -> None: ...


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_list, r"@batch_handler\('index'\).*a batch handler takes a list, as in list\[dict\]"),
        (lambda one, two, three: None, r"must take \(payload\) or \(payload, context\)"),
    ],
)
def test_what_cannot_take_a_list_is_refused(function: Any, text: str) -> None:
    with pytest.raises(HandlerError, match=text):
        many_of(function)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (
            {"max_size": 0},
            r"@batch_handler\('index'\): max_size: 0 must be a whole number from 1 to 1000; leave",
        ),
        ({"max_size": 1001}, "max_size: 1001 must be"),
        ({"max_size": True}, "max_size: True must be"),
        (
            {"max_wait_seconds": 0},
            "max_wait_seconds: 0 must be a number of seconds above 0.*leave it out for 0.5",
        ),
        ({"max_wait_seconds": None}, "max_wait_seconds: None must be"),
        ({"max_attempts": 0}, r"@batch_handler\('index'\): max_attempts: 0 must be"),
    ],
)
def test_a_limit_that_cannot_be_is_named(limits: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Registry().batch("index", **limits)


def test_a_type_has_one_handler() -> None:
    registry = Registry()
    registry.batch("index")(plain)
    for again in (registry.batch, registry):
        with pytest.raises(ValueError, match="type 'index' is already handled"):
            again("index")


def test_a_batch_that_could_never_fill_is_refused() -> None:
    registry = Registry()
    registry.batch("index", max_size=50)(plain)
    by_type = handler_of(registry, "tests").by_type
    assert "batches of 50 within 0.5 s, threads" in str(policies_of(by_type, _Worker())["index"])
    with pytest.raises(
        HandlerError, match=r"@batch_handler\('index'\): max_size: 50 must not exceed REDISQUEUE_C"
    ):
        policies_of(by_type, _Worker(concurrency=49))
    with pytest.raises(
        HandlerError, match="would start one for each message of a batch; leave it out, and say"
    ):
        policies_of(by_type, _Worker(slots="processes"))


# ---- cutting ----


def played(count: int, poisoned: set[int]) -> tuple[dict[int, bool], int]:
    """Of each message whether it failed, and how many calls that took."""
    bisection, ends, calls = Bisection(count), dict[int, bool](), 0
    while part := bisection.next():
        calls += 1
        if poisoned & {*part}:
            over = bisection.failed(part)
            ends |= dict.fromkeys(over, True)
        else:
            bisection.succeeded()
            ends |= dict.fromkeys(part, False)
    return ends, calls


@given(st.integers(1, 300), st.data())
def test_one_poisoned_message_fails_alone(count: int, data: st.DataObject) -> None:
    poisoned = data.draw(st.integers(0, count - 1))
    ends, calls = played(count, {poisoned})
    assert ends == {place: place == poisoned for place in range(count)}
    assert calls <= 2 * (count - 1).bit_length() + 1


@given(st.integers(1, 300), st.data())
def test_each_message_comes_to_one_end_and_the_poisoned_ones_fail(count: int, data: st.DataObject) -> None:
    poisoned = data.draw(st.sets(st.integers(0, count - 1)))
    ends, _ = played(count, poisoned)
    assert ends.keys() == set(range(count))
    assert all(ends[place] for place in poisoned)


@given(st.integers(2, 1000))
def test_where_nothing_works_it_is_soon_given_up(count: int) -> None:
    ends, calls = played(count, set(range(count)))
    assert all(ends.values())
    assert calls <= (count - 1).bit_length() + 5


def test_two_poisoned_neighbours_fail_alone() -> None:
    for first in range(99):
        assert [place for place, failed in played(100, {first, first + 1})[0].items() if failed] == [
            first,
            first + 1,
        ]


def test_a_failure_of_many_is_of_the_kind_that_was_raised() -> None:
    def timed_out(documents: list[Document]) -> None:
        raise TimeoutError("slow")

    assert {end.kind for end in call(timed_out, 1, 2).ends} == {FailureKind.ERROR}


# ---- without a type ----


def test_one_without_a_type_takes_whatever_is_on_its_queue() -> None:
    @batch_handler(max_size=3, max_attempts=7)
    def lines(texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    handler = handler_of(lines, "tests:lines")
    told = policies_of(handler.by_type, _Worker(max_delivery_count=9))
    assert str(told[""]).startswith("batches of 3 within 0.5 s, threads, no timeout, 7 attempts")
    assert [one.value for one in deliver_batch(lines, ["a", "b"])] == ["A", "B"]
    assert deliver(lines, "c").value == "C"
    with pytest.raises(
        HandlerError, match="@batch_handler: max_size: 3 must not exceed REDISQUEUE_CONCURRENCY"
    ):
        policies_of(handler.by_type, _Worker(concurrency=2))


def test_its_limits_are_checked_where_it_stands() -> None:
    with pytest.raises(ValueError, match="@batch_handler: max_size: 0 must be a whole number"):
        batch_handler(max_size=0)
    with pytest.raises(TypeError, match=r"the type must be a text.*got <function plain"):
        batch_handler(plain)  # type: ignore[arg-type]


def test_a_decorator_keeps_it_a_handler_of_many() -> None:
    @functools.wraps(plain)
    def outer(*arguments: Any) -> Any:
        return plain(*arguments)

    batch_handler(max_size=2)(outer)
    assert deliver_batch(functools.wraps(outer)(outer), ["a"])[0].state == "done"


# ---- time ----


def test_a_call_that_failed_late_says_nothing_of_the_time_of_the_next() -> None:
    table = InFlightTable()
    metrics = Metrics()
    timeouts = HandlerTimeouts(table, metrics, 3600)
    messages = [InFlight(Claim(one, "1", one, one, 1), FakeContext(timeout_seconds=3600)) for one in "ab"]
    table.add(*messages)
    counted = list[int]()

    def call(part: list[InFlight]) -> Called:
        for message in part:
            message.begin(None)
        timeouts.look()
        counted.append(metrics.timeouts)
        if len(part) == 1:
            assert not part[0].abandoned
            return Called((None,))
        for message in part:
            message.context.limit(1e-9)
        timeouts.look()
        assert all(message.abandoned for message in part)
        for message in part:
            message.context.limit(3600)
        return Called.failed(failure_of(ValueError("late")), 2, divisible=True)

    handler: Any = None
    Batch(handler, messages, lambda message, failure: table.remove(message.claim)).run(call)
    assert counted == [0, 2, 2]
    assert not table.all()


def test_a_message_that_is_cancelled_between_two_calls_is_stopped_in_the_second() -> None:
    table = InFlightTable()
    timeouts = HandlerTimeouts(table, Metrics(), 3600)
    message = InFlight(Claim("a", "1", "a", "a", 1), FakeContext(timeout_seconds=None))
    table.add(message)
    told = list[str]()
    message.begin(lambda: told.append("first"))
    message.cancelled = True
    timeouts.look()
    message.begin(lambda: told.append("second"))
    timeouts.look()
    timeouts.look()
    assert told == ["first", "second"]
