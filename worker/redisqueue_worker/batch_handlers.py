"""Handlers that take many messages at once: how they are called, and what each call says of each message."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from redisqueue_worker.context import Context
from redisqueue_worker.exceptions import Retry
from redisqueue_worker.executors import own_state
from redisqueue_worker.retry_policy import Failure, failure_of
from redisqueue_worker.signals import forks_end_here
from redisqueue_worker.signatures import NotDone, finished

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from redisqueue_worker.handler_policy import HandlerPolicy
    from redisqueue_worker.handlers import FunctionHandler, Handler, OneHandler
    from redisqueue_worker.payload import Decode

Payloads = Sequence[str | bytes]


class BatchContext(Context):
    """The optional second argument of a batch handler: what holds for all of its messages at once.

    Attributes:
        contexts: the context of each message, in the order of the payloads.
        id: None; each message has its own, as `contexts[0].id`.
        delivery_count: the highest of them.
    """

    def __init__(self, contexts: Sequence[Context]) -> None:
        first = contexts[0]
        super().__init__(
            id=None,
            delivery_count=max(one.delivery_count for one in contexts),
            timeout_seconds=None,
            draining=first._draining,  # noqa: SLF001  (one worker's)
            publisher=first._publisher,  # noqa: SLF001
            payload="",
        )
        self.contexts = tuple(contexts)

    @property
    def enqueued_at(self) -> datetime | None:
        """When the first of them was published, as far as their producers told."""
        return min(filter(None, (one.enqueued_at for one in self.contexts)), default=None)

    @property
    def remaining_seconds(self) -> float | None:
        """Seconds until the call is timed out; None without a handler timeout."""
        found = (one.remaining_seconds for one in self.contexts)
        return min((seconds for seconds in found if seconds is not None), default=None)

    @property
    def lease_lost(self) -> bool:
        """Whether somebody else has one of them by now, or may."""
        return any(one.lease_lost for one in self.contexts)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled all of them, so that the call may end; of one its own context tells.

        Cancelled ones are left out of the next call, and a call with others is not stopped for them.
        """
        # A context that is asked takes it that its handler will act on that.
        wanted = [one for one in self.contexts if not one._cancelled]  # noqa: SLF001
        return not wanted and all(one.cancelled for one in self.contexts)

    def extend(self, seconds: float) -> None:
        """Move the deadline of the call, as `Context.extend`."""
        for one in self.contexts:
            one.extend(seconds)


class Called(NamedTuple):
    """What one call says of its messages.

    Attributes:
        ends: of each message how it failed; None: it is done.
        shared: the places of those that share the failure of the whole call.
        divisible: whether a part of them may do better.
    """

    ends: tuple[Failure | None, ...]
    shared: tuple[int, ...] = ()
    divisible: bool = False

    @classmethod
    def failed(cls, failure: Failure, count: int, *, divisible: bool) -> Called:
        """All of them failed alike."""
        return cls((failure,) * count, tuple(range(count)), divisible)


class BatchTarget(Protocol):
    """What is called with many messages."""

    @property
    def is_async(self) -> bool:
        """Whether `call_all` gives a coroutine."""

    def read(self, payload: str | bytes) -> Any:
        """What the handler gets of one message. Raises InvalidPayload."""

    def call_all(self, values: list[Any], context: BatchContext) -> Any:
        """An outcome for each: what it returned, or an exception. Raises whatever the handler raises."""


@dataclass(frozen=True, slots=True)
class BatchHandler:
    """A user's function of many messages, ready to be called.

    Attributes:
        function: takes the list; hooks are around it.
        read_one: what it gets of one payload.
    """

    function: FunctionHandler
    read_one: Decode
    type: str = ""
    policy: HandlerPolicy | None = None

    @property
    def is_async(self) -> bool:
        return self.function.is_async

    @property
    def by_type(self) -> Mapping[str, OneHandler]:
        """See `Handler.by_type`."""
        return {}

    def chosen_for(self, payload: str | bytes) -> Handler:  # noqa: ARG002 - there is no choice
        """See `Handler.chosen_for`."""
        return self

    def call(self, payload: str | bytes, context: Context) -> Any:
        """Handle one message alone."""
        values, batch = [self.read(payload)], BatchContext([context])
        if self.is_async:
            return self._call_async(values, batch)
        return _alone(self.call_all(values, batch))

    async def _call_async(self, values: list[Any], context: BatchContext) -> Any:
        return _alone(await self.call_all(values, context))

    def read(self, payload: str | bytes) -> Any:
        """See `BatchTarget.read`."""
        return self.read_one(payload)

    def call_all(self, values: list[Any], context: BatchContext) -> Any:
        """See `BatchTarget.call_all`."""
        if self.is_async:
            return self._call_all_async(values, context)
        count = len(values)  # the list is the handler's: it may have emptied it by its end
        return _outcomes(self.function.call(values, context), count)  # type: ignore[arg-type]

    async def _call_all_async(self, values: list[Any], context: BatchContext) -> list[Any]:
        count = len(values)
        return _outcomes(await self.function.call(values, context), count)  # type: ignore[arg-type]


def of_many(function: FunctionHandler, read_one: Decode) -> BatchHandler:
    """The function as a handler of many messages, which are read one by one."""
    return BatchHandler(function._replace(decode=lambda values: values), read_one)


def item_of(annotation: Any) -> Any:
    """What each message is to be read as. Raises TypeError when the parameter is no list."""
    kind = typing.get_origin(annotation) or annotation
    if kind is str:  # without an annotation
        return str
    if kind not in (list, Sequence):
        raise TypeError(
            f"the first parameter is annotated with {annotation!r}; a batch handler takes a list, "
            "as in list[dict]"
        )
    item = (typing.get_args(annotation) or (dict,))[0]
    return dict if item is typing.Any else item  # what has a type is an object


def _outcomes(result: Any, count: int) -> list[Any]:
    """An outcome for each message. Raises NotDone for a list that does not fit."""
    if not isinstance(result, (list, tuple)):
        return [None] * count
    if len(result) != count:
        told = f"{len(result)} outcomes for {count} messages"
        raise NotDone(f"the batch handler returned {told}; return None, or one for each")
    return [*result]


def _alone(outcomes: list[Any]) -> Any:
    outcome = _checked(outcomes[0])
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _checked(outcome: Any) -> Any:
    """One outcome. Raises NotDone for what somebody would have to go on with."""
    if isinstance(outcome, BaseException):
        return outcome
    if isinstance(outcome, type) and issubclass(outcome, BaseException):
        raise NotDone(f"the outcome of a message is the class {outcome.__name__}; make one of it")
    return finished(outcome, "the batch handler")


def called(handler: BatchTarget, payloads: Payloads, contexts: Sequence[Context]) -> Called:
    """Call a batch handler with all of them; what it says of each. Never raises."""
    call = _Call(handler, payloads, contexts)
    try:
        with forks_end_here(), own_state() or nullcontext():
            if values := call.read():
                call.took(handler.call_all(values, call.context))
    except BaseException as error:
        call.failed(error)
    return call.told


async def called_async(handler: BatchTarget, payloads: Payloads, contexts: Sequence[Context]) -> Called:
    """The same of an async one."""
    call = _Call(handler, payloads, contexts)
    for context in contexts:
        context.task = asyncio.current_task()
    try:
        with forks_end_here(), own_state() or nullcontext():
            if values := call.read():
                call.took(await handler.call_all(values, call.context))
    except BaseException as error:
        call.failed(error)
    return call.told


class _Call:
    """One call: which messages could be read, and what became of each."""

    def __init__(self, handler: BatchTarget, payloads: Payloads, contexts: Sequence[Context]) -> None:
        self._handler = handler
        self._payloads = payloads
        self._contexts = contexts
        self._ends: list[Failure | None] = [None] * len(payloads)
        self._places: list[int] = []
        self._shared: tuple[int, ...] = ()
        self._divisible = False

    def read(self) -> list[Any]:
        """What the handler gets; a message that cannot be read takes no other down."""
        values = []
        for place, payload in enumerate(self._payloads):
            try:
                values.append(self._handler.read(payload))
                self._places.append(place)
            except BaseException as error:  # as where it comes alone
                self._ends[place] = failure_of(error)
        return values

    @property
    def context(self) -> BatchContext:
        return BatchContext([self._contexts[place] for place in self._places])

    def took(self, outcomes: list[Any]) -> None:
        """The handler has returned these."""
        for place, outcome in zip(self._places, outcomes, strict=True):
            try:
                value = _checked(outcome)
                if isinstance(value, BaseException):
                    self._ends[place] = failure_of(value)
                else:
                    self._contexts[place].keep(value)
            except BaseException as error:
                self._ends[place] = failure_of(error)

    def failed(self, error: BaseException) -> None:
        """The handler has raised. What it asks for, and what is done and told wrongly, is for all."""
        self._shared = tuple(place for place, end in enumerate(self._ends) if end is None)
        self._divisible = not isinstance(error, (Retry, NotDone, asyncio.CancelledError))
        failure = failure_of(error)
        for place in self._shared:
            self._ends[place] = failure

    @property
    def told(self) -> Called:
        return Called(tuple(self._ends), self._shared, self._divisible)
