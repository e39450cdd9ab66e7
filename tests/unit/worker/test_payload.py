"""From the payload on the queue to the handler's type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest

from redisqueue_worker.payload import InvalidPayload, decoder_for


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


class Model(pydantic.BaseModel):
    id: int


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
        (Item, b'{"name": "x", "weight": 2, "unknown": 1}', Item("x", 2)),
        (
            Order,
            b'{"id": 1, "item": {"name": "x"}, "more": [{"name": "y"}], "note": null, "anything": [1]}',
            Order(1, Item("x"), [Item("y")], None, [1]),
        ),
        (Model, b'{"id": "7"}', Model(id=7)),
    ],
)
def test_fits(annotation: object, payload: str | bytes, expected: object) -> None:
    assert decoder_for(annotation)(payload) == expected


@pytest.mark.parametrize(
    ("annotation", "payload", "problem"),
    [
        (str, b"\xff", "not UTF-8 at byte 0; annotate the parameter with bytes to take any"),
        (dict, b"secret", "not JSON: Expecting value at line 1 column 1"),
        (dict, b"[1]", "a JSON list where a dict belongs"),
        (dict, b"[" * 100_000, "not JSON: nested too deeply"),
        (Item, b"{}", "field name is missing"),
        (Item, b'{"name": 1}', "field name is a JSON int where str belongs"),
        (Item, b'{"name": "x", "weight": true}', "field weight is a JSON bool where float belongs"),
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
            "field note is a JSON int where str belongs and field note is a JSON int where NoneType belongs",
        ),
        (Model, b'{"id": "secret"}', "Model: id: int_parsing"),
        (Model, b"secret", "Model: payload: json_invalid"),
    ],
)
def test_does_not_fit_and_is_not_quoted(annotation: object, payload: bytes, problem: str) -> None:
    with pytest.raises(InvalidPayload) as raised:
        decoder_for(annotation)(payload)
    assert str(raised.value) == problem


def test_another_annotation_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match="use str, bytes, dict, list, a dataclass or a pydantic model"):
        decoder_for(int)
