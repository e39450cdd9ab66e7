"""Types that are more than fields: of pydantic's, with a constructor, or such as JSON cannot fill."""

from __future__ import annotations

import abc
import datetime as dt
import enum
import json
import uuid  # noqa: TC003  (read at run time, as the next)
from collections.abc import Callable  # noqa: TC003
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NotRequired, TypedDict

import pydantic
import pytest

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.payload import decoder_for


@dataclass
class Item:
    name: str


# ---- pydantic, at every depth ----------------------------------------------------------


class Event(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    at: dt.datetime
    key: uuid.UUID | None = None
    counts: dict[str, int] = {}


@pydantic.dataclasses.dataclass
class Account:
    number: int = pydantic.Field(alias="accountNumber")
    checked: InitVar[bool] = False


@dataclass
class Envelope:
    """All of the ways in which a model may stand in something else."""

    event: Event
    many: list[Event] = field(default_factory=list)
    named: dict[str, Event] = field(default_factory=dict)
    either: Event | int = 0
    account: Account | None = None


class Mail(TypedDict):
    events: tuple[Event, ...]
    account: NotRequired[Account]


AT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
RAW = {"at": "2026-01-02T03:04:05Z"}
EVENT = Event(at=AT)
ACCOUNT = decoder_for(Account)('{"accountNumber": 7}')


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Event, RAW, EVENT),
        (list[Event], [RAW], [EVENT]),
        (dict[str, list[Event]], {"a": [RAW]}, {"a": [EVENT]}),
        (Mail, {"events": [RAW]}, {"events": (EVENT,)}),
        (
            Envelope,
            {
                "event": RAW,
                "many": [RAW],
                "named": {"x": RAW},
                "either": RAW,
                "account": {"accountNumber": 7, "checked": True},
            },
            Envelope(EVENT, [EVENT], {"x": EVENT}, EVENT, ACCOUNT),
        ),
        (Account, {"accountNumber": 7}, ACCOUNT),
        (list[Account], [{"accountNumber": 7}], [ACCOUNT]),
    ],
)
def test_pydantic_reads_json_at_every_depth(annotation: object, value: object, expected: object) -> None:
    payload = json.dumps(value)
    assert decoder_for(annotation)(payload) == expected
    assert decoder_for(annotation)(payload.encode()) == expected


CARD = "4111-1111-1111-1111"
NUMBERED = {f"{CARD} {number}": "x" for number in range(9)}


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        (dict[str, int], {CARD: "x"}, "field * is a JSON str where int belongs"),
        (dict[str, Item], {CARD: {"name": 1}}, "field *.name is a JSON int where str belongs"),
        (list[dict[str, list[int]]], [{CARD: [1, None]}], "field [0].*[1] is a JSON null where int belongs"),
        (Event, {"at": CARD}, "Event: at: datetime_parsing"),
        (Event, {**RAW, CARD: 1}, "Event: *: extra_forbidden"),
        (Event, {**RAW, "counts": {CARD: "x"}}, "Event: counts.*: int_type"),
        (list[Event], [RAW, {**RAW, CARD: 1}], "field [1] is Event: *: extra_forbidden"),
        (list[Event], [{"at": "\ud800"}], "field [0] is Event: payload: json_invalid"),
        (Account, {"accountNumber": CARD}, "Account: accountNumber: int_parsing"),
        (Event, {**RAW, "counts": NUMBERED}, "Event: " + "counts.*: int_type; " * 5 + "4 more"),
    ],
)
def test_nothing_of_a_payload_is_told(annotation: object, value: object, problem: str) -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoder_for(annotation)(json.dumps(value))
    assert str(raised.value) == problem


# ---- what JSON can never fill ----------------------------------------------------------


@dataclass
class Parted:
    whole: int
    factor: InitVar[int]
    lock: ClassVar[Nowhere]  # type: ignore[name-defined]  # noqa: F821
    made: Nowhere = field(init=False, default=None)  # type: ignore[name-defined]  # noqa: F821

    def __post_init__(self, factor: int) -> None:
        self.whole *= factor


@dataclass(init=False)
class OfText:
    text: str

    def __init__(self, raw: list[str], sep: str = " ", **more: Any) -> None:
        self.text = sep.join(raw)


@dataclass
class Dated:
    date: dt.date | None = None
    Any: Any = None


def test_a_dataclass_gets_what_it_is_made_with() -> None:
    assert decoder_for(Parted)('{"whole": 2, "factor": 3, "made": 1}') == Parted(2, 3)
    assert decoder_for(OfText)('{"raw": ["a", "b"]}') == OfText(["a", "b"])
    assert decoder_for(Dated)('{"date": "2026-01-02", "Any": 1}') == Dated(dt.date(2026, 1, 2), 1)


class Socket: ...


class Arbitrary(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    sockets: list[Socket] = []
    maybe: Socket | None = None
    made: Annotated[Socket, pydantic.BeforeValidator(lambda _: Socket())] = pydantic.Field()


class Chain(pydantic.BaseModel):
    following: Chain | None = None
    others: list[Chain] = []


def test_what_json_may_fill_is_taken() -> None:
    assert isinstance(decoder_for(Arbitrary)('{"made": 1}').made, Socket)
    assert decoder_for(list[Chain])('[{"following": {}}]') == [Chain(following=Chain())]


class Impossible(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    socket: Socket


class Around(pydantic.BaseModel):
    inner: Impossible


class Calling(pydantic.BaseModel):
    call: Callable[[], None]


class Undefined(pydantic.BaseModel):
    it: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class WithUndefined:
    it: Nowhere  # type: ignore[name-defined]  # noqa: F821


class RowOfUndefined(TypedDict):
    it: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Abstract(abc.ABC):
    it: int

    @abc.abstractmethod
    def act(self) -> None: ...


class Pair(enum.Enum):
    ONE = (1, 2)


@dataclass
class WithBytes:
    inner: list[bytes]


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (WithBytes, "field inner of WithBytes: JSON cannot fill bytes; use Any and convert it yourself"),
        (dict[int, str], "JSON cannot fill a dict with keys of int; use dict[str, …]"),
        (list[range], "JSON cannot fill range"),
        (list[Pair], "JSON cannot fill Pair: no value of it is a text or a number"),
        (list[Literal[b"x"]], "JSON cannot fill a Literal of b'x'"),
        (list[set[Item]], "JSON cannot fill a set of Item, which has no hash; use a list"),
        (dict[str, frozenset[dict[str, int]]], "JSON cannot fill a frozenset of dict"),
        (Abstract, "JSON cannot fill Abstract, which is abstract"),
        (WithUndefined, "field it of WithUndefined: NameError: name 'Nowhere' is not defined; it is needed"),
        (RowOfUndefined, "RowOfUndefined: NameError: name 'Nowhere' is not defined"),
        (Undefined, "Undefined is not complete: PydanticUndefinedAnnotation: name 'Nowhere' is not defined"),
        (Impossible, "JSON cannot fill Impossible: field socket: it would have to be Socket already"),
        (list[Around], "JSON cannot fill Around: field inner: field socket: it would have to be Socket"),
        (Calling, "JSON cannot fill Calling: field call: it would have to be callable"),
    ],
)
def test_what_json_can_never_fill_is_told_before_any_message(annotation: object, problem: str) -> None:
    with pytest.raises(TypeError) as raised:
        decoder_for(annotation)
    assert problem in str(raised.value)


def test_a_set_of_anything_refuses_what_has_no_hash() -> None:
    decode = decoder_for(list[set[Any]])
    assert decode("[[1, 1, null]]") == [{1, None}]
    with pytest.raises(InvalidPayload, match=r"^field \[0\] is a set of values without a hash$"):
        decode("[[[]]]")
