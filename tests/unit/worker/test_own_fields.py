"""The library's own fields of a payload: a type that would refuse them does not see them, others do."""

from __future__ import annotations

import decimal
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
import pytest

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.headers import sparing, without
from redisqueue_worker.payload import Decode, decoder_for

STAMPED = {"enqueued_at": "2026-01-02T03:04:05+00:00", "traceparent": "00-1-2-01", "tracestate": "a=b"}


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    amount: decimal.Decimal
    note: str = ""


class WithType(Strict):
    type: Literal["order"]
    enqueued: str = pydantic.Field("", alias="enqueued_at")


class WithPaths(Strict):
    trace: str = pydantic.Field("", validation_alias=pydantic.AliasChoices("t", "traceparent"))
    kind: str = pydantic.Field("", validation_alias=pydantic.AliasPath("type"))


class Tree(Strict):
    children: list[Tree] = []


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")


@pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="forbid"))
class Forbidding:
    number: int


class Either(pydantic.RootModel[Annotated[WithType | Strict, pydantic.Field()]]):
    pass


@dataclass
class Plain:
    amount: float


def decoding(annotation: object, *, typed: bool = True) -> Decode:
    return sparing(annotation, decoder_for(annotation), typed=typed)


def message(**fields: Any) -> str:
    return json.dumps({"type": "order", **STAMPED, **fields})


def test_a_strict_model_takes_a_stamped_message_that_was_chosen_by_its_type() -> None:
    for payload in (message(amount="1.5"), message(amount="1.5").encode()):
        assert decoding(Strict)(payload) == Strict(amount=decimal.Decimal("1.5"))
    assert decoding(Tree)(message(amount="1", children=[{"amount": "2"}])).children[0].amount == 2
    assert decoding(Forbidding)(message(number=7)) == Forbidding(7)
    assert decoding(Open)(message(more=1)).model_extra == {"more": 1}
    assert decoding(dict[str, int])(message(a=1)) == {"a": 1}


def test_a_field_that_the_type_has_is_its_own() -> None:
    order = decoding(WithType)(message(amount="1"))
    assert (order.type, order.enqueued) == ("order", STAMPED["enqueued_at"])
    paths = decoding(WithPaths)(message(amount="1"))
    assert (paths.trace, paths.kind) == (STAMPED["traceparent"], "order")
    assert (
        decoding(Either)(message(amount="1") if False else '{"type":"order","amount":"1"}').root.type
        == "order"
    )


def test_who_takes_any_field_sees_all_of_them() -> None:
    everything = json.loads(message(amount=1))
    assert decoding(dict)(message(amount=1)) == everything
    assert decoding(dict[str, Any])(message(amount=1)) == everything
    assert decoding(dict[str, str])(message()) == json.loads(message())
    assert decoding(str)(message(a=1)) == message(a=1)
    assert decoding(Plain)(message(amount=1.5)) == Plain(1.5)


def test_the_type_is_ours_only_where_it_chose_the_handler() -> None:
    with pytest.raises(InvalidPayload, match="extra_forbidden"):
        decoding(Strict, typed=False)(message(amount="1"))
    assert decoding(Strict, typed=False)(json.dumps({**STAMPED, "amount": "1"})).amount == 1


def test_other_unknown_fields_are_refused_as_before() -> None:
    with pytest.raises(InvalidPayload, match="extra_forbidden"):
        decoding(Strict)(message(amount="1", more=2))
    for broken in (
        b'{"type": "order", "amount": ',
        '{"type" "order"}',
        "[1]",
        '{"type": 1} x',
        b'{"type":\xff}',
    ):
        with pytest.raises(InvalidPayload):
            decoding(Strict)(broken)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ('{"type":"a"}', "{}"),
        ('{ "type" : "a" , "b" : 1.10 }', '{"b" : 1.10}'),
        ('{"b":{"type":"inner"},"type":[{"type":2}]}', '{"b":{"type":"inner"}}'),
        (
            '{"type":1,"big":12345678901234567890.123456789,"type":2}',
            '{"big":12345678901234567890.123456789}',
        ),
        ('{"a":"\\"type\\":","\\u0074ype":1}', '{"a":"\\"type\\":"}'),
        ('{"é":"ü","type":null}', '{"é":"ü"}'),
        ("{}", "{}"),
        ("[]", "[]"),
        ('{"type":1', '{"type":1'),
        ('{"type":1,}', '{"type":1,}'),
        ('{"type":1}{', '{"type":1}{'),
        ("", ""),
        ('"type"', '"type"'),
        ("[" * 100_000, "[" * 100_000),
        ('{"type":' + "[" * 100_000, '{"type":' + "[" * 100_000),
    ],
)
def test_the_rest_stays_as_it_was_written(text: str, rest: str) -> None:
    assert without(text, ["type"]) == rest
