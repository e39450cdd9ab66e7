"""Whatever a handler raises becomes plain data, where it ran and without a second failure."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import traceback
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from redisqueue_worker import DeadLetter, Retry
from redisqueue_worker.exceptions import LONGEST_DELAY_SECONDS, InvalidPayload
from redisqueue_worker.logs import JsonFormatter, TextFormatter
from redisqueue_worker.retry_policy import Failure, FailureKind, HandlerTimeout, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable


def refuse(*_: object) -> NoReturn:
    raise SystemExit("not even that")


class Mute(Exception):
    __str__ = __repr__ = refuse


class MuteText(str):
    __len__ = __getitem__ = encode = __str__ = __format__ = __reduce__ = refuse  # type: ignore[assignment]


class Talkative(Exception):
    def __str__(self) -> str:
        return MuteText("told all the same")


class Liar(Exception):
    __class__ = Retry  # type: ignore[assignment]


class Faceless(Exception):
    __class__ = __notes__ = __cause__ = property(refuse)  # type: ignore[assignment]


class Traceless(Exception):
    __traceback__ = property(refuse)  # type: ignore[assignment]
    with_traceback = refuse


class Nameless(type):
    __name__ = property(refuse)  # type: ignore[assignment]


class OfNobody(Exception, metaclass=Nameless):
    pass


class Quoting(Exception):
    def __init__(self) -> None:
        self.response = self
        self.why = lambda: None

    def __str__(self) -> str:
        return self.response.reason  # type: ignore[attr-defined,no-any-return]


def noted() -> Exception:
    error = ValueError("noted")
    error.__notes__ = [Mute(), MuteText("x"), 7, os.fsdecode(b"\xe9")]  # type: ignore[list-item]
    return error


def circular() -> Exception:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__, second.__context__ = second, first
    return first


def chain() -> Exception:
    error: Exception = ValueError("the first")
    for number in range(3000):
        later = ValueError(number)
        later.__cause__ = error
        error = later
    return error


def nested() -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(sys.getrecursionlimit() * 2):
        error = ExceptionGroup("group", [error, Mute()])
    return error


def of_class(name: str) -> Exception:
    kind: Any = type(name, (Exception,), {})
    return kind("of a class with an odd name")  # type: ignore[no-any-return]


ODD: dict[str, Callable[[], BaseException]] = {
    "mute": Mute,
    "talkative": Talkative,
    "liar": Liar,
    "faceless": Faceless,
    "traceless": Traceless,
    "nameless": OfNobody,
    "quoting": Quoting,
    "noted": noted,
    "circular": circular,
    "chain": chain,
    "nested": nested,
    "group": lambda: BaseExceptionGroup("several", [Mute(), KeyboardInterrupt(), SystemExit(Mute())]),
    "exit": lambda: SystemExit(Mute()),
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "of mute": lambda: KeyError(Mute()),
    "surrogates": lambda: FileNotFoundError(2, "no", os.fsdecode(b"caf\xe9\x00")),
    "huge": lambda: ValueError("x" * 20_000_000),
    "long number": lambda: ValueError(10**5000),
    "long name": lambda: of_class("N" * 100_000),
    "name of two lines": lambda: of_class("a\nb"),
    "syntax": lambda: SyntaxError("no", (Mute(), Mute(), 1, "x" * 100_000)),
    "reason of ours": lambda: retyped(DeadLetter("no"), reason=Mute()),
    "text of ours": lambda: DeadLetter(Talkative()),  # type: ignore[arg-type]
    "long reason": lambda: DeadLetter("y" * 5_000_000),
    "no reason": lambda: DeadLetter.__new__(DeadLetter),
    "changed delay": lambda: retyped(Retry(1), delay_seconds=float("nan")),
    "no delay": lambda: Retry.__new__(Retry),
    "payload": lambda: InvalidPayload(Mute()),
}


def retyped(error: BaseException, **attributes: object) -> BaseException:
    vars(error).update(attributes)
    return error


def raised(error: BaseException) -> Failure:
    try:
        raise error
    except BaseException as caught:
        return failure_of(caught)


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_exception_is_told_in_plain_and_short_text(kind: str) -> None:
    failure = raised(ODD[kind]())
    assert pickle.loads(pickle.dumps(failure)) == failure
    for text, longest in ((failure.text, 1000), (failure.detail, 16_000)):
        assert type(text) is str
        assert len(text.encode()) <= 4 * longest
    assert failure.text or kind == "no reason"


def test_what_an_exception_cannot_say_leaves_its_name_and_its_frames() -> None:
    for error, text in ((Mute(), "Mute: <Mute without a text>"), (Quoting(), "Quoting: <Quoting without")):
        failure = raised(error)
        assert failure.kind is FailureKind.ERROR
        assert failure.text.startswith(text)
        assert "in raised" in failure.detail
    assert raised(Talkative()).text == "Talkative: told all the same"
    assert raised(Liar("no retry")).kind is FailureKind.ERROR
    assert "in raised" in raised(Faceless()).detail


def test_a_huge_text_leaves_room_for_the_frames_and_for_the_cause() -> None:
    error = ValueError("x" * 1_000_000)
    error.__cause__ = KeyError("where it began")
    detail = raised(error).detail
    assert "where it began" in detail
    assert "in raised" in detail


@pytest.mark.parametrize("delay", [None, 2.5])
def test_a_retry_keeps_its_delay(delay: float | None) -> None:
    assert raised(Retry(delay)) == Failure(FailureKind.RETRY, "retry", delay_seconds=delay)


def test_a_dead_letter_keeps_its_reason_and_a_wrong_payload_its_place() -> None:
    assert raised(DeadLetter("too old")) == Failure(FailureKind.DEAD_LETTER, "too old")
    assert raised(InvalidPayload("field id")) == Failure(FailureKind.INVALID_PAYLOAD, "field id")
    assert raised(HandlerTimeout(2)) == Failure(FailureKind.TIMEOUT, "ran for 2.0 s")


def test_subclasses_mean_the_same_also_without_our_constructor() -> None:
    class Later(Retry):
        def __init__(self) -> None:
            self.why = "busy"

    assert raised(Later()) == Failure(FailureKind.RETRY, "retry", delay_seconds=None)


def test_a_class_of_the_handler_that_is_called_like_one_of_ours_is_not_ours() -> None:
    failure = raised(type("Retry", (Exception,), {})("not that one"))
    assert (failure.kind, failure.text) == (FailureKind.ERROR, "Retry: not that one")


@dataclass
class Odd:
    seconds: Any

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "delay",
    [
        *(float(word) for word in ("nan", "inf", "-inf", "1e300", "-0.001")),
        10**400,
        -(10**5000),
        LONGEST_DELAY_SECONDS + 1,
        True,
        "5",
        b"5",
        [5],
        Odd(5),
        timedelta(seconds=5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_delay_is_told_where_it_is_given(delay: Any) -> None:
    with pytest.raises(
        ValueError, match=r"delay: .* is not a number of seconds from 0 to 2592000 \(30 days\)"
    ):
        Retry(delay)


def test_a_timedelta_is_told_what_to_do() -> None:
    with pytest.raises(ValueError, match="total_seconds"):
        Retry(timedelta(minutes=1))  # type: ignore[arg-type]


@pytest.mark.parametrize("delay", [0, 1, 0.5, Decimal("0.1"), Fraction(1, 2), LONGEST_DELAY_SECONDS])
def test_every_number_is_a_delay(delay: Any) -> None:
    assert Retry(delay).delay_seconds == float(delay)


# ---- log lines -------------------------------------------------------------------------


def circle() -> list[object]:
    found: list[object] = []
    found.append(found)
    return found


def deep() -> list[object]:
    found: list[object] = []
    for _ in range(sys.getrecursionlimit() * 50):
        found = [found]
    return found


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
@pytest.mark.parametrize(
    "value",
    [
        Mute(),
        MuteText("x"),
        circle(),
        deep(),
        {(1, 2): 3},
        {Mute(): 1},
        float("nan"),
        10**5000,
        os.fsdecode(b"\xe9"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_logged_becomes_a_line(formatter: logging.Formatter, value: Any) -> None:
    record = logging.makeLogRecord(
        {"msg": "working", "name": "mine", "levelname": "INFO", "odd": value, "n": 7}
    )
    line = formatter.format(record)
    assert "working" in line
    if isinstance(formatter, JsonFormatter):
        told = json.loads(line, parse_constant=refuse)
        assert (told["message"], told["logger"], told["n"]) == ("working", "mine", 7)
        assert "odd" in told


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
@pytest.mark.parametrize(
    ("msg", "args"), [("%d items", ("x",)), ("%s", (Mute(),)), (Mute(), ()), ("a %s %s", (1,))]
)
def test_a_message_that_cannot_be_made_names_its_place(
    formatter: logging.Formatter, msg: Any, args: Any
) -> None:
    record = logging.LogRecord("mine", logging.INFO, "/app/tasks.py", 12, msg, args, None)
    assert "tasks.py, line 12" in formatter.format(record)


def test_the_lines_own_names_are_its_own() -> None:
    record = logging.makeLogRecord(
        {"msg": "x", "name": "mine", "levelname": "INFO", "level": 3, "time": "noon"}
    )
    told = json.loads(JsonFormatter().format(record))
    assert (told["level"], told["level_"], told["time_"]) == ("info", 3, "noon")
    assert told["time"] != "noon"


def test_a_traceback_of_an_odd_exception_is_in_its_line() -> None:
    try:
        raise Mute
    except Mute:
        record = logging.makeLogRecord({"msg": "x", "exc_info": sys.exc_info()})
    assert "raise Mute" in json.loads(JsonFormatter().format(record))["traceback"]


def test_a_usual_traceback_is_that_of_the_standard_library() -> None:
    with pytest.raises(ValueError, match="usual") as raising:
        raise ValueError("usual") from KeyError("cause")
    usual = "".join(traceback.format_exception(raising.value))
    assert failure_of(raising.value).detail == usual
