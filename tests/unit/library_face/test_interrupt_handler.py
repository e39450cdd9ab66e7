"""The first signal sets a flag, the second does what it always did; nobody else's handler is overwritten."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue.interrupt_handler import EventDrivenInterruptHandler, GracefulInterruptHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

USR1, USR2 = (signal.SIGUSR1,), (signal.SIGUSR2,)


@pytest.fixture(autouse=True)
def _dispositions() -> Iterator[None]:
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"verbose": 1}, TypeError, "'verbose' must be a bool"),
        ({"signals": "SIGINT"}, TypeError, "'signals' must be an iterable"),
        ({"signals": 2}, TypeError, "'signals' must be an iterable"),
        ({"signals": ()}, ValueError, "at least one signal"),
        ({"signals": (2,)}, TypeError, r"signal\.Signals"),
        ({"signals": (signal.SIGUSR1, signal.SIGKILL)}, ValueError, "SIGKILL cannot be caught"),
    ],
)
def test_wrong_arguments_install_nothing(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        GracefulInterruptHandler(**arguments)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_the_first_signal_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    handler = GracefulInterruptHandler(signals=USR1)
    assert not handler.is_interrupted()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert handler.is_interrupted()
    assert "SIGUSR1" in capsys.readouterr().err
    handler.reset()
    handler.reset()
    assert handler.is_interrupted()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_the_second_signal_does_what_it_did_before() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handler = GracefulInterruptHandler(verbose=False, signals={signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert handler.is_interrupted()


def test_a_signal_has_one_owner() -> None:
    first = GracefulInterruptHandler(signals=USR1)
    with pytest.raises(ValueError, match="already owned by another GracefulInterruptHandler"):
        GracefulInterruptHandler(signals=USR2 + USR1)
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    second = GracefulInterruptHandler(signals=USR2)
    first.reset()
    second.reset()
    assert GracefulInterruptHandler(signals=USR1 + USR1)


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, lambda *_: None])
def test_a_foreign_handler_is_respected(disposition: Any) -> None:
    signal.signal(signal.SIGUSR1, disposition)
    with pytest.raises(ValueError, match="non-default handler installed"):
        GracefulInterruptHandler(signals=USR1)


def test_reset_keeps_what_somebody_installed_later() -> None:
    handler = GracefulInterruptHandler(signals=USR1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    handler.reset()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_a_reset_that_another_thread_tried_is_still_possible() -> None:
    handler = GracefulInterruptHandler(signals=USR1)
    errors: list[Exception] = []

    def reset() -> None:
        try:
            handler.reset()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=reset)
    thread.start()
    thread.join()
    assert len(errors) == 1
    handler.reset()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_only_the_main_thread_may_own_signals() -> None:
    errors: list[Exception] = []

    def build() -> None:
        try:
            GracefulInterruptHandler(signals=USR1)
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_an_event_may_be_the_interrupt() -> None:
    event = threading.Event()
    handler = EventDrivenInterruptHandler(event)
    assert not handler.is_interrupted()
    event.set()
    assert handler.is_interrupted()
    with pytest.raises(TypeError, match=r"'stop_event' must be a threading\.Event"):
        EventDrivenInterruptHandler(object())  # type: ignore[arg-type]
