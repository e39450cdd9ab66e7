"""The process of a slot: what is said of a message, by either side, is said of no other and is not lost."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from redisqueue_worker import BatchContext, Context, batch_handler, process_child
from redisqueue_worker.arguments import settings_of
from redisqueue_worker.handlers import handler_of
from redisqueue_worker.process_child import (
    Begin,
    BeginBatch,
    Ended,
    Extended,
    ProcessChild,
    Ready,
    Stacks,
    Start,
    TellStacks,
    Update,
)
from redisqueue_worker.restart import Recycler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

LONG = 60.0


class NoTakeovers:
    def undo(self) -> list[str]:
        return []


class Slot:
    """The worker's end of the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def say(self, word: NamedTuple | None) -> None:
        self._connection.send(word)

    def hear(self) -> Any:
        assert self._connection.poll(LONG), "nothing was said"
        return self._connection.recv()

    def ask(self, word: NamedTuple) -> Any:
        self.say(word)
        return self.hear()


@contextmanager
def child_with(handler: Callable[..., Any]) -> Iterator[Slot]:
    """What the process does, in threads of this one."""
    words = ["--handler", "tests:handler", "--queue", "jobs", "--redis-url", "redis://127.0.0.1:1"]
    words += ["--concurrency", "2"]
    ours, theirs = multiprocessing.Pipe()
    takeovers: Any = NoTakeovers()
    child = ProcessChild(theirs, Start.of(settings_of("run", words, {})))
    serving = threading.Thread(target=child.serve, args=(handler_of(handler, "tests"), takeovers))
    serving.start()
    slot = Slot(ours)
    try:
        assert isinstance(slot.hear(), Ready)
        yield slot
    finally:
        slot.say(None)
        serving.join(LONG)


def begin(*payloads: str) -> Begin | BeginBatch:
    """More than one are a batch."""
    messages = tuple(Begin(payload, payload, 1, LONG) for payload in payloads)
    return BeginBatch(messages) if len(messages) > 1 else messages[0]


def test_a_stack_that_is_told_late_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def slow_stack(_context: Context) -> list[str]:
        asked.set()
        over.wait(LONG)
        return ["late"]

    def handle(payload: str) -> None:
        if payload == "one":
            slot.say(TellStacks())
            assert asked.wait(LONG)

    monkeypatch.setattr(process_child, "stack_of", slow_stack)
    with child_with(handle) as slot:
        assert isinstance(slot.ask(begin("one")), Ended)
        over.set()
        assert isinstance(slot.ask(begin("two")), Ended)


def test_a_deadline_that_is_moved_after_the_end_is_not_the_next_ones() -> None:
    contexts = list[Context]()

    def handle(_payload: str, context: Context) -> None:
        if not contexts:
            contexts.append(context)

    with child_with(handle) as slot:
        assert isinstance(slot.ask(begin("one")), Ended)
        contexts[0].extend(5)
        assert isinstance(slot.ask(begin("two")), Ended)


def test_a_deadline_that_is_moved_in_time_is_told() -> None:
    def handle(_payload: str, context: Context) -> None:
        context.extend(5)

    with child_with(handle) as slot:
        assert slot.ask(begin("one")) == Extended(5)


@pytest.fixture
def may_begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Handlers wait for it: the main thread is held up after it has said that it is ready."""
    event = threading.Event()

    class HeldUp(Recycler):
        def reached(self, handled: int) -> str:
            assert event.wait(LONG)
            return super().reached(handled)

    monkeypatch.setattr(process_child, "Recycler", HeldUp)
    yield event
    event.set()


@pytest.mark.parametrize("payloads", [("one",), ("one", "two")], ids=["a message", "a batch"])
def test_what_is_told_before_a_handler_begins_is_known_to_it(
    payloads: tuple[str, ...], may_begin: threading.Event
) -> None:
    seen = list[tuple[bool, bool]]()

    def handle(_payload: str, context: Context) -> None:
        seen.append((context.lease_lost, context.cancelled))

    @batch_handler(max_size=2)
    def handle_all(_payloads: list[str], context: BatchContext) -> None:
        seen.extend((one.lease_lost, one.cancelled) for one in context.contexts)

    with child_with(handle if len(payloads) == 1 else handle_all) as slot:
        slot.say(begin(*payloads))
        of_all = (True,) * len(payloads)
        slot.say(Update(draining=False, lease_lost=of_all, cancelled=of_all))
        assert slot.ask(TellStacks()) == Stacks(((),) * len(payloads)), "none has begun"
        may_begin.set()
        assert slot.hear().has_seen_cancellation == of_all
    assert seen == [(True, True)] * len(payloads)


def test_what_was_told_of_one_message_is_not_the_next_ones() -> None:
    seen = list[tuple[bool, bool, bool]]()

    def handle(_payload: str, context: Context) -> None:
        seen.append((context.draining, context.lease_lost, context.cancelled))

    with child_with(handle) as slot:
        one = Begin("one", "one", 1, LONG, draining=True, lease_lost=True, cancelled=True)
        assert isinstance(slot.ask(one), Ended)
        slot.say(Update(draining=True, lease_lost=(True,), cancelled=(True,)))  # which crosses its end
        assert isinstance(slot.ask(begin("two")), Ended)
    assert seen == [(True, True, True), (False, False, False)]
