"""Where handlers stand: for each message in hand the Python stack of its handler, without stopping it."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from redis_message_queue._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

    from redisqueue_worker.context import Context
    from redisqueue_worker.in_flight import InFlight

# The functions that call handlers, by name: what is within them is the handler's own.
_CALLERS = ("failure_in", "failure_in_async", "called", "called_async")
_PACKAGE = __name__.partition(".")[0]
_MOST_FRAMES = 200
# A process slot answers between two looks at its pipe.
_ANSWER_SECONDS = 2.5


class Question:
    """Where the handler in a process slot stands: asked here, answered by what talks to that process."""

    def __init__(self) -> None:
        self.sent = False
        self._told = threading.Event()
        self._stack: Sequence[str] | None = None

    def answer(self, stack: Sequence[str]) -> None:
        """The process has told it."""
        self._stack = stack
        self._told.set()

    def wait(self, seconds: float) -> Sequence[str] | None:
        """The answer; None when there is none in time, as while native code holds the interpreter."""
        self._told.wait(max(0.0, seconds))
        return self._stack


def stacks(messages: Sequence[InFlight]) -> Iterator[str]:
    """A line of JSON for each message: message_id, seconds, slot, pid, stack (outermost first)."""
    deadline = monotonic() + _ANSWER_SECONDS
    for message in messages:
        message.question = Question() if message.pid else None
    for message in messages:
        question, context = message.question, message.context
        stack = question.wait(deadline - monotonic()) if question else stack_of(context)
        yield json.dumps(
            {
                "message_id": message.claim.id,
                "seconds": round(message.age_seconds, 3),
                "slot": "process" if question else "task" if context.task else "thread" if stack else None,
                "pid": message.pid,
                "stack": stack,
            }
        )


def stack_of(context: Context) -> list[str] | None:
    """The stack of the handler that was given this context, in this process; None where no slot is at it."""
    for top in sys._current_frames().values():  # noqa: SLF001  (documented, if for rare uses)
        frames = [frame for frame, _ in traceback.walk_stack(top)][::-1]
        if (within := _within(frames, context)) is not None:
            return _lines(within)
    if context.task is not None:  # none of the threads is at it: it waits for something
        within = _within([*_awaiting(context.task)], context)
        return None if within is None else _lines(within)
    return None


def _within(frames: Sequence[FrameType], context: Context) -> list[FrameType] | None:
    """Those of the handler, if it is the one with this context; outermost first."""
    for place, frame in enumerate(frames):
        name, module = frame.f_code.co_name, str(frame.f_globals.get("__name__"))
        if name in _CALLERS and module.startswith(f"{_PACKAGE}."):
            given = frame.f_locals
            if any(one is context for one in (given.get("context"), *(given.get("contexts") or ()))):
                return [*frames[place + 1 :]]
    return None


def _awaiting(task: Any) -> Iterator[FrameType]:
    """What a task waits in, and of a task that it awaits the same."""
    seen: set[int] = set()
    while task is not None and id(task) not in seen:
        seen.add(id(task))
        one = task.get_coro()
        while one is not None:
            frame = _attribute(one, "cr_frame", "gi_frame", "ag_frame")
            if frame is not None:
                yield frame
            one = _attribute(one, "cr_await", "gi_yieldfrom", "ag_await")
        waited_for = getattr(task, "_fut_waiter", None)
        task = waited_for if hasattr(waited_for, "get_coro") else None


def _attribute(one: Any, *names: str) -> Any:
    return next((getattr(one, name) for name in names if hasattr(one, name)), None)


def _lines(frames: Sequence[FrameType]) -> list[str]:
    """Without what of ours stands between the call and the handler."""
    outer = 0
    while outer < len(frames) and str(frames[outer].f_globals.get("__name__")).startswith(f"{_PACKAGE}."):
        outer += 1
    shown = frames[outer:] or frames
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in shown[-_MOST_FRAMES:])
    return [line for text in summary.format() for line in text.rstrip().splitlines()]
