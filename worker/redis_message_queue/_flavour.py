"""What differs between the two faces of a queue, as data."""

from __future__ import annotations

import asyncio
import functools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from redis_message_queue._callbacks import (
    WrongHandlerError,
    call_awaited,
    call_either,
    call_plain,
)
from redis_message_queue._deadline import in_task, in_thread
from redis_message_queue._flow import Flow, run, run_async, within_task, within_thread
from redis_message_queue.validation import check_async_callable, check_sync_callable, check_types

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue._gateway import GatewayProperties

T = TypeVar("T")
_EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit, WrongHandlerError)


def _cancelled_from_outside(error: BaseException) -> bool:
    if isinstance(error, _EXITS):
        return True
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


@dataclass(frozen=True, slots=True)
class Flavour:
    """One face: its classes, how it calls back, how it runs a flow."""

    gateway_class: type[GatewayProperties]
    run: Callable[[Flow[Any]], Any]
    other_package: str
    check_event_callback: Callable[[str, Any], None]
    check_plain_callback: Callable[[str, Any], None]
    call_event: Callable[..., Any]
    call_plain: Callable[..., Any]
    call_key: Callable[..., Any]
    caller: Callable[[], object]
    within: Callable[[float | None, Callable[[], Any]], Any]
    """Performs an action for at most so many seconds; None if it took longer, 0 does not interrupt it."""
    in_time: Callable[[float, Callable[[], Any]], Any]
    """Performs an action; raises RetryBudgetExhaustedError when it takes longer than so many seconds."""
    aborts: Callable[[BaseException], bool]
    """True for what ends the work without settling it: an exit, or a cancellation from outside."""


def sync_flavour(gateway_class: type[GatewayProperties]) -> Flavour:
    """The rules of the thread-based face."""
    return Flavour(
        gateway_class=gateway_class,
        run=run,
        other_package="redis_message_queue.asyncio",
        check_event_callback=check_sync_callable,
        check_plain_callback=check_sync_callable,
        call_event=call_plain,
        call_plain=call_plain,
        call_key=functools.partial(call_plain, name="'get_deduplication_key'"),
        caller=threading.get_ident,
        within=within_thread,
        in_time=in_thread,
        aborts=lambda error: isinstance(error, _EXITS),
    )


def async_flavour(gateway_class: type[GatewayProperties]) -> Flavour:
    """The rules of the asyncio face."""
    return Flavour(
        gateway_class=gateway_class,
        run=run_async,
        other_package="redis_message_queue",
        check_event_callback=check_async_callable,
        check_plain_callback=lambda name, value: check_types(**{name: value}),
        call_event=call_awaited,
        call_plain=call_either,
        call_key=call_either,
        caller=asyncio.current_task,
        within=within_task,
        in_time=in_task,
        aborts=_cancelled_from_outside,
    )


def documented_as(twin: type) -> Callable[[type[T]], type[T]]:
    """Of two classes with the same methods, one for each face, have one tell what they do."""

    def documented(face: type[T]) -> type[T]:
        for name, member in vars(face).items():
            if (callable(member) or isinstance(member, property)) and hasattr(twin, name):
                member.__doc__ = member.__doc__ or getattr(twin, name).__doc__
        return face

    return documented
