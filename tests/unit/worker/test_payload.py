"""From the payload on the queue to the handler's type."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence  # noqa: TC003  (read at run time)
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import pydantic
import pytest

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.payload import decoder_for


@dataclass
class Item:
    name: str
    weight: float = 1.0


@dataclass
class Order:
    id: int
    item: Item
    more: list[Item] = field(default_factory=list)
    note: str | None = None
    anything: Any = None


class Colour(enum.Enum):
    RED = "red"


UserId = NewType("UserId", int)


class Model(pydantic.BaseModel):
    id: int


class Row(TypedDict):
    id: UserId
    tags: NotRequired[frozenset[str]]


@dataclass
class Rich:
    at: dt.datetime | None = None
    day: dt.date | None = None
    key: uuid.UUID | None = None
    price: Annotated[Decimal, "in euros"] = Decimal(0)
    colour: Colour = Colour.RED
    size: Literal["s", "m", 1] = "s"
    pair: tuple[int, str] | None = None
    many: tuple[int, ...] = ()
    rows: Mapping[str, Row] = field(default_factory=dict)
    model: Model | None = None
    texts: Sequence[str] = ()


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass
class Positive:
    number: int
    secret: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError(f"{self.number} is not positive")


@pytest.mark.parametrize(
    ("annotation", "payload", "expected"),
    [
        (str, b"caf\xc3\xa9", "café"),
        (str, "text", "text"),
        (Any, b"text", "text"),
        (bytes, b"\xff\x00", b"\xff\x00"),
        (bytes, "é", b"\xc3\xa9"),
        (dict, b'{"a": 1}', {"a": 1}),
        (dict[str, int], b'{"a": 1}', {"a": 1}),
        (list[int], "[1, 2]", [1, 2]),
        (list, "[1, null]", [1, None]),
        (Item, b'{"name": "x", "weight": 2, "unknown": 1}', Item("x", 2)),
        (
            Order,
            b'{"id": 1, "item": {"name": "x"}, "more": [{"name": "y"}], "note": null, "anything": [1]}',
            Order(1, Item("x"), [Item("y")], None, [1]),
        ),
        (Model, b'{"id": "7"}', Model(id=7)),
        (Row, b'{"id": 7, "tags": ["a", "a"], "unknown": 1}', {"id": 7, "tags": {"a"}}),
        (Row, b'{"id": 7}', {"id": 7}),
        (Tree, b'{"name": "a", "children": [{"name": "b"}]}', Tree("a", [Tree("b")])),
        (
            Rich,
            """{"at": "2026-01-02T03:04:05Z", "day": "2026-01-02", "price": "9.90", "colour": "red",
            "size": 1,
            "key": "00000000-0000-0000-0000-000000000007", "pair": [1, "a"], "many": [1, 2],
            "rows": {"x": {"id": 1}}, "model": {"id": 1}, "texts": ["a"]}""",
            Rich(
                dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
                dt.date(2026, 1, 2),
                uuid.UUID(int=7),
                Decimal("9.90"),
                Colour.RED,
                1,
                (1, "a"),
                (1, 2),
                {"x": {"id": UserId(1)}},
                Model(id=1),
                ["a"],
            ),
        ),
    ],
)
def test_fits(annotation: object, payload: str | bytes, expected: object) -> None:
    assert decoder_for(annotation)(payload) == expected


@pytest.mark.parametrize(
    ("annotation", "payload", "problem"),
    [
        (str, b"\xff", "not UTF-8 at byte 0; annotate the parameter with bytes to take any"),
        (dict, b"\xff", "not UTF-8 at byte 0"),
        (dict, b"secret", "not JSON: Expecting value at line 1 column 1"),
        (dict, b"[1]", "a JSON list where a dict belongs"),
        (dict, b"[" * 100_000, "not JSON: nested too deeply"),
        (list, b"9" * 5000, "not JSON: a number is too long"),
        (list[int], b'[1, "2"]', "field [1] is a JSON str where int belongs"),
        (dict[str, int], b'{"a": null}', "field * is a JSON null where int belongs"),
        (Item, b"{}", "field name is missing"),
        (Item, b'{"name": 1}', "field name is a JSON int where str belongs"),
        (Item, b'{"name": "x", "weight": true}', "field weight is a JSON bool where float belongs"),
        (Item, b'{"name": "x", "weight": 1%s}' % (b"0" * 400), "field weight is no valid float"),
        (Order, b'{"id": true, "item": {}}', "field id is a JSON bool where int belongs"),
        (Order, b'{"id": 1, "item": {}}', "field item.name is missing"),
        (Order, b'{"id": 1, "item": [1]}', "field item is a JSON list where Item belongs"),
        (
            Order,
            b'{"id": 1, "item": {"name": "x"}, "more": [{"name": 2}]}',
            "field more[0].name is a JSON int where str belongs",
        ),
        (
            Order,
            b'{"id": 1, "item": {"name": "x"}, "note": 3}',
            "field note is a JSON int where str or null belongs",
        ),
        (Model, b'{"id": "secret"}', "Model: id: int_parsing"),
        (Model, b"secret", "Model: payload: json_invalid"),
        (Row, b'{"tags": []}', "field id is missing"),
        (Tree, b'{"name": "a", "children": [{}]}', "field children[0].name is missing"),
        (Rich, b'{"at": "secret"}', "field at is no valid datetime"),
        (Rich, b'{"colour": "secret"}', "field colour is no valid Colour"),
        (Rich, b'{"size": true}', "field size is none of 's', 'm', 1"),
        (Rich, b'{"pair": [1]}', "field pair is a list of 1 where 2 belong"),
        (Rich, b'{"model": {"id": "secret"}}', "field model is Model: id: int_parsing"),
        (Rich, b'{"rows": {"x": {}}}', "field rows.*.id is missing"),
        (Positive, b'{"number": -1}', "Positive refused the fields (ValueError)"),
    ],
)
def test_does_not_fit_and_is_not_quoted(annotation: object, payload: bytes, problem: str) -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoder_for(annotation)(payload)
    assert str(raised.value) == problem


def test_another_annotation_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match="use str, bytes, dict, list, a TypedDict, a dataclass, a pydantic"):
        decoder_for(int)
