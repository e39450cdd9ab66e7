"""What a handler raised means the same on both sides of the pipe."""

from __future__ import annotations

import pickle
import traceback

import pytest

from redisqueue_worker.outcomes import DeadLetter, Retry
from redisqueue_worker.payload import InvalidPayload
from redisqueue_worker.pipe import described, rebuilt


def through(error: BaseException) -> BaseException:
    return rebuilt(pickle.loads(pickle.dumps(described(error))))


@pytest.mark.parametrize("delay", [None, 2.5])
def test_a_retry_keeps_its_delay(delay: float | None) -> None:
    other = through(Retry(delay))
    assert isinstance(other, Retry)
    assert other.delay_seconds == delay


def test_a_dead_letter_keeps_its_reason_and_a_wrong_payload_its_place() -> None:
    dead, wrong = through(DeadLetter("too old")), through(InvalidPayload("field id"))
    assert isinstance(dead, DeadLetter)
    assert dead.reason == "too old"
    assert isinstance(wrong, InvalidPayload)
    assert str(wrong) == "field id"


def test_any_other_exception_keeps_name_text_and_traceback() -> None:
    class Unpicklable(Exception):
        def __init__(self) -> None:
            super().__init__("no way")
            self.why = lambda: None

    try:
        raise Unpicklable
    except Unpicklable as error:
        other = through(error)
    assert (type(other).__name__, str(other)) == ("Unpicklable", "no way")
    assert "raise Unpicklable" in "".join(traceback.format_exception(other))


def test_a_class_of_the_handler_that_is_called_like_one_of_ours_is_not_ours() -> None:
    other = through(type("Retry", (Exception,), {})("not that one"))
    assert not isinstance(other, Retry)
    assert str(other) == "not that one"
