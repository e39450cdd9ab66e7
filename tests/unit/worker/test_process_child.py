"""The process of a slot: what it says of a message, it says before it says that the handler has ended."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redisqueue_worker import Context, process_child
from redisqueue_worker.arguments import settings_of
from redisqueue_worker.handlers import handler_of
from redisqueue_worker.process_child import Begin, Ended, Extended, ProcessChild, Ready, Start, TellStacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

LONG = 60.0


class NoTakeovers:
    def undo(self) -> list[str]:
        return []


@contextmanager
def child_with(handler: Callable[..., Any]) -> Iterator[Callable[[Any], Any]]:
    """What the process does, in threads of this one; says a word to it, and what it answers."""
    words = ["--handler", "tests:handler", "--queue", "jobs", "--redis-url", "redis://127.0.0.1:1"]
    ours, theirs = multiprocessing.Pipe()
    takeovers: Any = NoTakeovers()
    child = ProcessChild(theirs, Start.of(settings_of("run", words, {})))
    serving = threading.Thread(target=child.serve, args=(handler_of(handler, "tests"), takeovers))
    serving.start()

    def heard() -> Any:
        assert ours.poll(LONG), "nothing was said"
        return ours.recv()

    def say(word: Any) -> Any:
        ours.send(word)
        return heard() if isinstance(word, Begin) else None

    try:
        assert isinstance(heard(), Ready)
        yield say
    finally:
        ours.send(None)
        serving.join(LONG)


def begin(payload: str) -> Begin:
    return Begin(payload, payload, 1, LONG)


def test_a_stack_that_is_told_late_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def slow_stack(_context: Context) -> list[str]:
        asked.set()
        over.wait(LONG)
        return ["late"]

    def handle(payload: str) -> None:
        if payload == "one":
            say(TellStacks())
            assert asked.wait(LONG)

    monkeypatch.setattr(process_child, "stack_of", slow_stack)
    with child_with(handle) as say:
        assert isinstance(say(begin("one")), Ended)
        over.set()
        assert isinstance(say(begin("two")), Ended)


def test_a_deadline_that_is_moved_after_the_end_is_not_the_next_ones() -> None:
    contexts = list[Context]()

    def handle(_payload: str, context: Context) -> None:
        if not contexts:
            contexts.append(context)

    with child_with(handle) as say:
        assert isinstance(say(begin("one")), Ended)
        contexts[0].extend(5)
        assert isinstance(say(begin("two")), Ended)


def test_a_deadline_that_is_moved_in_time_is_told() -> None:
    def handle(_payload: str, context: Context) -> None:
        context.extend(5)

    with child_with(handle) as say:
        assert say(begin("one")) == Extended(5)
