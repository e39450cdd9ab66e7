"""What may be enqueued: how it is written, that a handler reads it back, and how the rest is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import pathlib
import subprocess
import sys
import uuid
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, TypedDict

import hypothesis.strategies as st
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given

from redis_message_queue import PayloadTooDeepError, PayloadTooLargeError
from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.payload import TEXT_FORMS, written
from redisqueue_worker.payload import decoder_for

UTC = dt.UTC


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Size(enum.StrEnum):
    SMALL = "s"


@dataclass
class Item:
    name: str
    price: Decimal
    tags: set[str] = field(default_factory=set)


@dataclass
class Order:
    id: uuid.UUID
    at: dt.datetime
    items: list[Item]
    colour: Colour = Colour.RED
    level: Level = Level.HIGH
    size: Size = Size.SMALL
    day: dt.date = dt.date(2026, 1, 2)
    time: dt.time = dt.time(3, 4)
    place: pathlib.Path = pathlib.Path("/srv")
    pair: tuple[int, str] = (1, "a")
    by_name: dict[str, Item] = field(default_factory=dict)
    weight: float = 1.5
    note: str | None = None


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(alias="no")
    at: dt.datetime
    order: Order

    @pydantic.computed_field
    def twice(self) -> int:
        return 2 * self.number


class Strict(Model):
    model_config = pydantic.ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass
class Checked:
    at: dt.datetime
    amount: Decimal


class Row(TypedDict):
    id: int
    item: Item


class Tagged(msgspec.Struct, tag="t", tag_field="kind", omit_defaults=True, forbid_unknown_fields=True):
    by_number: dict[int, str] = msgspec.field(name="byNumber", default_factory=dict)
    data: bytes = b""
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Listed(msgspec.Struct, array_like=True):
    at: dt.date
    tagged: Tagged | None = None


class Struct(msgspec.Struct, rename="camel"):
    unit_price: Decimal
    at: dt.datetime


@dataclass
class OfAStruct:
    unitPrice: Decimal  # noqa: N815 - as it is written
    at: dt.datetime


AT = dt.datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
ITEM = Item("bolt", Decimal("0.10"), {"b", "a"})
ORDER = Order(uuid.UUID(int=7), AT, [ITEM], by_name={"x": ITEM})


def text(payload: object, **limits: Any) -> str | bytes:
    return written(payload, PayloadLimits(**limits))


@pytest.mark.parametrize(
    ("payload", "annotation"),
    [
        ("any text", str),
        (b"bytes", bytes),
        (b"\xff\x00", bytes),
        ({"b": [1, None, 2.5, True], "a": {}}, dict),
        ([1, "x"], list[Any]),
        (ORDER, Order),
        (Model(no=3, at=AT, order=ORDER), Model),
        (Strict(no=3, at=AT, order=ORDER), Strict),
        (Checked(AT, Decimal("1.50")), Checked),
        ({"id": 1, "item": ITEM}, Row),
        (Struct(Decimal("1.5"), AT), Struct),
        ({"s": [Struct(Decimal(1), AT)]}, dict[str, list[Struct]]),
        (Tagged({1: "a"}, b"\xff"), Tagged),
        (Listed(AT.date(), Tagged()), Listed),
        ([ITEM, ITEM], list[Item]),
        ({"m": Checked(AT, Decimal(1))}, dict[str, Checked]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_handler_gets_what_was_enqueued(payload: object, annotation: Any) -> None:
    assert decoder_for(annotation)(text(payload)) == payload


@pytest.mark.parametrize("kind", TEXT_FORMS)
def test_each_type_that_is_written_as_text_has_its_reader(kind: type) -> None:
    made = dataclasses.make_dataclass("Made", [("value", kind)])
    sample: Any = {
        dt.datetime: AT,
        dt.date: AT.date(),
        dt.time: AT.time(),
        Decimal: Decimal("1.10"),
        uuid.UUID: uuid.UUID(int=1),
    }.get(kind) or kind("a/b")
    assert decoder_for(made)(text(made(sample))) == made(sample)


@dataclass(kw_only=True)
class Named:
    a: int
    double: int = field(init=False)
    kind: ClassVar[str] = "named"

    def __post_init__(self) -> None:
        self.double = 2 * self.a


@dataclass(slots=True)
class OfItsOwn:
    a: int

    def __init__(self, a: int, **_: object) -> None:
        self.a = a


@pytest.mark.parametrize("made", [Named(a=2), OfItsOwn(2)])
def test_a_dataclass_is_written_by_what_it_is_made_with(made: object) -> None:
    assert text(made) == '{"a": 2}'
    assert decoder_for(type(made))(text(made)) == made


def test_an_int_of_as_many_digits_as_are_read_comes_back() -> None:
    many = [10**4300 - 1, 1 - 10**4300]
    assert decoder_for(list[int])(text(many)) == many


def test_what_publish_can_write_is_not_too_deep() -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"x": deep}
    assert text(deep) == PayloadLimits().text(deep)


def test_a_struct_is_written_by_its_own_names() -> None:
    assert decoder_for(OfAStruct)(text(Struct(Decimal("1.5"), AT))) == OfAStruct(Decimal("1.5"), AT)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(JSON.filter(lambda value: not isinstance(value, str)))
def test_json_is_itself_and_a_dict_is_what_publish_writes(value: Any) -> None:
    assert json.loads(text(value)) == value
    if isinstance(value, dict):
        assert text(value) == PayloadLimits().text(value)


def test_what_becomes_a_list_or_a_plain_value() -> None:
    assert text((1, (2,))) == "[1, [2]]"
    assert text({"s": frozenset({3, 1, 2})}) == '{"s": [1, 2, 3]}'
    assert text([Level.HIGH, Size.SMALL, Colour.RED]) == '[3, "s", "red"]'
    assert text(bytearray(b"x")) == text(memoryview(b"x")) == "x"


class Odd(enum.Enum):
    PAIR = (1, 2)


@dataclass
class Forgetful:
    secret: dataclasses.InitVar[str]


@dataclass
class Seeded:
    a: int
    seed: dataclasses.InitVar[int] = 5


@dataclass
class SeededToo(Seeded):
    b: int = 0


@dataclass
class ByPosition:
    a: int

    def __init__(self, a: int, /) -> None:
        self.a = a


@dataclass
class ByPositions:
    a: tuple[int, ...]

    def __init__(self, *a: int) -> None:
        self.a = a


@dataclass
class ByKeywords:
    a: int

    def __init__(self, **more: int) -> None:
        self.a = more["a"]


@dataclass(init=False)
class Filled:
    a: int


@dataclass
class Separated:
    a: list[str]

    def __init__(self, a: list[str], separator: str = " ") -> None:
        self.a = separator.join(a).split()


class Opaque(pydantic.BaseModel):
    it: Any


@dataclass
class Holder:
    items: list[Any]


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"order": {"items": [0, 0, 0, {"price": dt.timedelta(1)}]}},
         "order.items[3].price: timedelta cannot be said in JSON; send its total_seconds()"),
        (Holder([b"x"]), "items[0]: bytes cannot be said in JSON; decode it, or send it as base64 text"),
        ({"a": {"b": float("nan")}}, "a.b: nan is no number of JSON; send None, or a text"),
        ([float("-inf")], "[0]: -inf is no number of JSON"),
        ({"prices": {3: 1}}, "prices: the key 3 is of type int, JSON has texts alone; send str(key)"),
        (object(), "payload: object cannot be said in JSON; send a dict, a dataclass, or a text"),
        ({"x": deque([1])}, "x: deque cannot be said in JSON; send a list"),
        ({"x": iter([1])}, "x: list_iterator cannot be said in JSON; send a list of what it gives"),
        ({"x": Odd.PAIR}, "x: the value of Odd.PAIR is of type tuple; give its members texts or numbers"),
        (Holder([Forgetful("s")]),
         "items[0].secret: Forgetful is made with it (an InitVar), and does not keep it; send a dict"),
        (Seeded(1, 7),
         "seed: Seeded is made with it (an InitVar), and does not keep it; send a dict"),
        ({"x": SeededToo(1, 7)},
         "x.seed: SeededToo is made with it (an InitVar), and does not keep it; send a dict"),
        (ByPosition(1), "a: ByPosition takes it by position alone; send a dict"),
        (ByPositions(1, 2), "a: ByPositions takes it by position alone; send a dict"),
        (ByKeywords(a=1), "a: ByKeywords has it, and its __init__ does not take it by its name; send a dict"),
        (Filled(), "a: Filled has it, and its __init__ does not take it by its name; send a dict"),
        (Separated(["a"], ","), "separator: Separated is made with it, and does not keep it; send a dict"),
        ({"n": [10**4300]}, "n[0]: an int of more than 4300 digits is refused by readers; send a text"),
        ([-(10**4300)], "[0]: an int of more than 4300 digits"),
        (Item, "payload: type cannot be said in JSON"),
        (CYCLE, "the payload is nested too deeply, or contains itself"),
        ({"m": Opaque(it=object())}, "m: Opaque cannot be said in JSON: Unable to serialize unknown type"),
    ],
)  # fmt: skip
def test_what_json_cannot_say_is_named_with_its_place_and_the_way_out(payload: object, said: str) -> None:
    with pytest.raises(TypeError) as refused:
        text(payload)
    assert str(refused.value).startswith(said)


def test_limits_hold() -> None:
    for payload in ("x" * 9, b"\xff" * 9, ["x" * 9], Holder(["x" * 9])):
        with pytest.raises(PayloadTooLargeError):
            text(payload, max_bytes=8)
    with pytest.raises(PayloadTooDeepError):
        text([[[1]]], max_depth=2)
    assert text([[1]], max_depth=2) == "[[1]]"
    with pytest.raises(ValueError, match="UTF-8"):
        text("\ud800")


@pytest.mark.parametrize("payload", [{"x": (1,)}, {"x": Size.SMALL}, ITEM, [AT]])
def test_a_strict_queue_refuses_what_would_not_come_back_as_it_was(payload: object) -> None:
    with pytest.raises(TypeError, match="'strict_payload_types'"):
        text(payload, strict_types=True)
    assert text({"x": [1, "a", None]}, strict_types=True) == '{"x": [1, "a", null]}'


def test_neither_pydantic_nor_msgspec_is_imported() -> None:
    code = (
        "import dataclasses, sys; from redis_message_queue.envelope import PayloadLimits;"
        " from redis_message_queue.payload import written; D = dataclasses.make_dataclass('D', ['x']);"
        " print(written([D(1)], PayloadLimits()), sorted({'pydantic', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[{"x": 1}] []'
