"""What of a pydantic type comes back is enqueued; of the rest the field is named, and a way out."""

from __future__ import annotations

import dataclasses
from collections import deque  # noqa: TC003  (read at run time)
from dataclasses import InitVar
from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, SecretStr
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # pydantic takes those of typing from Python 3.12 on

from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.payload import written
from redisqueue_worker.payload import decoder_for

T = TypeVar("T")


class Read(BaseModel):
    x: int = Field(validation_alias="theX")


class Defaulted(BaseModel):
    x: int = Field(0, validation_alias="theX")


class Differing(BaseModel):
    x: int = Field(validation_alias="a", serialization_alias="b")


class Written(BaseModel):
    x: int = Field(serialization_alias="b")


class Choosing(BaseModel):
    x: int = Field(validation_alias=AliasChoices("a", AliasPath("b", 0)))


class Deep(BaseModel):
    x: int = Field(validation_alias=AliasPath("b", 0))


class ByNameAlone(BaseModel):
    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
    x: int = Field(alias="a")


class Generated(BaseModel):
    model_config = ConfigDict(
        alias_generator=pydantic.AliasGenerator(validation_alias=str.upper, serialization_alias=str.lower)
    )
    x_y: int


class Excluded(BaseModel):
    x: int = Field(exclude=True)


class ExcludedAndValidated(Excluded):
    @pydantic.field_validator("x", mode="wrap")
    @classmethod
    def check(cls, value: Any, handler: Any) -> Any:
        return handler(value)


class Secret(BaseModel):
    word: SecretStr


class Secrets(BaseModel):
    words: list[pydantic.SecretBytes] | None = None


class SecretNumber(BaseModel):
    number: pydantic.Secret[int]


class Root(RootModel[SecretStr]):
    pass


class Holding(BaseModel):
    many: dict[str, list[Read | None]]


class Held(BaseModel):
    many: deque[Read]


class Child(Read):
    pass


class Tree(BaseModel):
    x: int = Field(1, validation_alias="theX")
    below: list[Tree] = []


class Of(BaseModel, Generic[T]):
    it: T


class Row(TypedDict):
    x: Annotated[int, Field(validation_alias="theX")]


class OfARow(BaseModel):
    row: Row


@dataclasses.dataclass
class Plain:
    a: int
    seed: InitVar[int] = 5


class OfAPlain(BaseModel):
    plain: Plain


@pydantic.dataclasses.dataclass
class Seeded:
    a: int
    seed: InitVar[int] = 5


@pydantic.dataclasses.dataclass
class Renamed:
    a: int = Field(validation_alias="theA")


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid"))
class Closed:
    a: int
    made: int = dataclasses.field(init=False, default=3)


class Binary(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    data: bytes | None = None


READ = Read(theX=1)
ONE = "give it one alias, or send a dict"
ASTERISKS = "is a secret, which is written as asterisks; give it a serializer, or send a dict"
LEFT_OUT = "is required, and excluded from what is written; give it a default, or send a dict"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (READ, f"field x of Read is written as 'x', and read as 'theX'; {ONE}"),
        (Child(theX=1), f"field x of Child is written as 'x', and read as 'theX'; {ONE}"),
        (Defaulted(theX=1), f"field x of Defaulted is written as 'x', and read as 'theX'; {ONE}"),
        (Differing(a=1), f"field x of Differing is written as 'b', and read as 'a'; {ONE}"),
        (Written(x=1), f"field x of Written is written as 'b', and read as 'x'; {ONE}"),
        (Choosing(a=1), f"field x of Choosing is written as 'x', and read as 'a'; {ONE}"),
        (Deep(b=[1]), f"field x of Deep is written as 'x', and read as at a path; {ONE}"),
        (ByNameAlone(x=1), f"field x of ByNameAlone is written as 'a', and read as 'x'; {ONE}"),
        (Generated(X_Y=1), f"field x_y of Generated is written as 'x_y', and read as 'X_Y'; {ONE}"),
        (Excluded(x=1), f"field x of Excluded {LEFT_OUT}"),
        (ExcludedAndValidated(x=1), f"field x of ExcludedAndValidated {LEFT_OUT}"),
        (Secret(word="w"), f"field word of Secret {ASTERISKS}"),
        (Secrets(words=[b"w"]), f"field words of Secrets {ASTERISKS}"),
        (SecretNumber(number=1), f"field number of SecretNumber {ASTERISKS}"),
        (Root("w"), f"Root {ASTERISKS}"),
        (Holding(many={}), f"field x of Read is written as 'x', and read as 'theX'; {ONE}"),
        (Held(many=[READ]), f"field x of Read is written as 'x', and read as 'theX'; {ONE}"),
        (Tree(), f"field x of Tree is written as 'x', and read as 'theX'; {ONE}"),
        (Of[Read](it=READ), f"field x of Read is written as 'x', and read as 'theX'; {ONE}"),
        (OfARow(row={"theX": 1}), f"field x of Row is written as 'x', and read as 'theX'; {ONE}"),
        (OfAPlain(plain=Plain(1)), "field seed of Plain is an InitVar, which it does not keep; send a dict"),
        (Seeded(1, 7), "field seed of Seeded is an InitVar, which it does not keep; send a dict"),
        (Renamed(theA=1), f"field a of Renamed is written as 'a', and read as 'theA'; {ONE}"),
        (Binary(),
         "field data of Binary is written as base64, and read as utf8; set val_json_bytes, or send a dict"),
        (Closed(1), "field made of Closed is written, and forbidden to be read (init=False); send a dict"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_would_not_come_back_is_refused(value: Any, said: str) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(TypeError) as refused:
            written({"it": [value]}, PayloadLimits())
        assert str(refused.value) == f"it[0]: {type(value).__name__} would not come back as it is: {said}"


class Told(BaseModel):
    word: SecretStr

    @pydantic.field_serializer("word", when_used="json")
    def tell(self, word: SecretStr) -> str:
        return word.get_secret_value()


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")
    one: Any = None
    several: list[Told | Any] = []


class Untyped(BaseModel):
    row: dict = {}  # type: ignore[type-arg]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Anything(one=SecretStr("w")), "one"),
        (Anything(one={"k": [1, pydantic.SecretBytes(b"w")]}), "one.k[1]"),
        (Anything(one=Anything(other=SecretStr("w"))), "one.other"),
        (Anything(several=[1, SecretStr("w")]), "several[1]"),
        (Untyped(row={"key": SecretStr("w")}), "row.key"),
    ],
    ids=str,
)
def test_a_secret_where_any_value_may_be_is_refused_by_its_path(value: Any, path: str) -> None:
    with pytest.raises(TypeError) as refused:
        written({"it": value}, PayloadLimits())
    assert str(refused.value) == (f"it.{path}: a secret is written as asterisks; send its get_secret_value()")


def test_a_secret_that_its_own_serializer_tells_is_no_secret() -> None:
    text = written(Anything(one=1, several=[Told(word=SecretStr("w"))]), PayloadLimits())
    assert text == '{"one": 1, "several": [{"word": "w"}]}'


class Open(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    a: int = Field(alias="theA")
    b: int = Field(validation_alias="theB")
    c: int = Field(validation_alias=AliasChoices(AliasPath("x", 0), "y", "c"))
    d: int = Field(validation_alias="dD", serialization_alias="dD")
    cache: int = Field(0, exclude=True)

    @pydantic.computed_field
    def twice(self) -> int:
        return 2 * self.a


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")
    unit_price: int


class ByItself(BaseModel):
    x: int = Field(validation_alias="theX")

    @pydantic.model_serializer
    def tell(self) -> dict[str, int]:
        return {"theX": self.x}


class Branch(BaseModel):
    kind: Literal["branch"] = "branch"
    below: list[Annotated[Branch | Leaf, Field(discriminator="kind")]]


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"
    number: int = Field(alias="no")


class Numbers(RootModel[list[int]]):
    pass


class BinaryAlike(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Line(TypedDict):
    a: int
    note: NotRequired[str]


class Lines(BaseModel):
    lines: list[Line]


@pydantic.dataclasses.dataclass(kw_only=True)
class Made:
    a: int
    made: int = dataclasses.field(init=False, default=3)


@pytest.mark.parametrize(
    "value",
    [
        Open(theA=1, theB=2, y=3, dD=4),
        Camel(unitPrice=1),
        Told(word="w"),
        ByItself(theX=1),
        Branch(below=[Branch(below=[]), Leaf(no=3)]),
        Numbers([1, 2]),
        BinaryAlike(data=b"\xff"),
        Lines(lines=[{"a": 1}, {"a": 2, "note": "n"}]),
        Of[Camel](it=Camel(unitPrice=1)),
        Made(a=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_rest_comes_back(value: Any) -> None:
    assert decoder_for(type(value))(written(value, PayloadLimits())) == value
