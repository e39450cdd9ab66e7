"""What a handler's module is: kinds of functions and of payload types, as `check` and workers judge them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

if TYPE_CHECKING:
    from pathlib import Path

    import redis


KINDS = """
from __future__ import annotations
import functools
from typing import TYPE_CHECKING
from test_handlers import note
if TYPE_CHECKING:
    from somewhere import Session
    from redisqueue_worker import Context

def logged(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)
    return inner

def with_session(function):
    @functools.wraps(function)
    def inner(payload):
        return function(payload, "session")
    return inner

async def send(payload: str, ctx: Context | None = None) -> Session:
    note("finished", f"{payload} {ctx.queue}")

@with_session
def injected(payload: str, session: Session):
    note("finished", f"{payload} {session}")

partly, wrapped = functools.partial(send), logged(send)

async def generated(payload: str):
    yield payload
"""


@pytest.mark.parametrize("slots", ["auto", "processes"])
@pytest.mark.parametrize(
    ("handler", "noted"), [("partly", "a jobs"), ("wrapped", "a jobs"), ("injected", "a session")]
)
def test_what_check_finds_well_is_called_as_it_wants(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, handler: str, noted: str, slots: str
) -> None:
    (tmp_path / "kinds.py").write_text(KINDS)
    worker = WorkerProcess(tmp_path, redis_url, "x", slots=slots)
    worker.settings["handler"] = f"kinds:{handler}"
    said, _ = (check := worker.command("check")).communicate(timeout=60)
    assert check.returncode == 0, said
    publish(redis_client, "a")
    with worker:
        assert worker.until_noted("finished", 1) == [noted]
        eventually(lambda: counters(redis_client).processing == 0, "settled")
    assert counters(redis_client).dead_letter == 0


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_handler_that_could_never_run_is_refused_at_start(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, command: str
) -> None:
    (tmp_path / "kinds.py").write_text(KINDS)
    publish(redis_client, "a")
    worker = WorkerProcess(tmp_path, redis_url, "x")
    worker.settings["handler"] = "kinds:generated"
    said, _ = (started := worker.command(command)).communicate(timeout=60)
    assert started.returncode == 2, said
    assert "'kinds:generated': it has a 'yield'" in said
    assert counters(redis_client).pending == 1


TYPES = """
import datetime as dt
from dataclasses import InitVar, dataclass
import pydantic
from test_handlers import note

class Charge(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: dt.datetime

@dataclass
class Order:
    charges: list[Charge]
    cards: dict[str, int]
    customer: InitVar[str]

    def __post_init__(self, customer):
        self.name = customer

def handle(order: Order):
    note("finished", f"{order.name} {order.charges[0].at.year}")

class Socket: ...

class Never(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    socket: Socket

def never(order: list[Never]): ...
"""


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_typed_payloads_are_read_at_every_depth_and_never_quoted(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    at, card = "2026-01-02T03:04:05Z", "4111-1111-1111-1111"
    order = {"charges": [{"at": at}], "cards": {card: 1}, "customer": "Ada"}
    wrong = [{"cards": {card: "x"}}, {"charges": [{"at": at, card: 1}]}, {"charges": [{"at": card}]}]
    publish(redis_client, *(json.dumps({**order, **change}) for change in ({}, *wrong)))
    (tmp_path / "types_of_mine.py").write_text(TYPES)
    worker = WorkerProcess(tmp_path, redis_url, "x", slots=slots, log_level="DEBUG")
    worker.settings["handler"] = "types_of_mine:handle"
    with worker:
        assert worker.until_noted("finished", 1) == ["Ada 2026"]
        eventually(lambda: counters(redis_client).dead_letter == len(wrong), "the others do not fit")
        assert card not in worker.log_file.read_text()
    told = [json.loads(record)["reason"] for record in redis_client.lrange(KEYS.dead_letter_info, 0, -1)]
    assert sorted(told) == [
        "invalid payload: field cards.* is a JSON str where int belongs",
        "invalid payload: field charges[0] is Charge: *: extra_forbidden",
        "invalid payload: field charges[0] is Charge: at: datetime_parsing",
    ]


def test_a_type_that_json_can_never_fill_is_refused_at_start(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "types_of_mine.py").write_text(TYPES)
    worker = WorkerProcess(tmp_path, redis_url, "x")
    worker.settings["handler"] = "types_of_mine:never"
    said, _ = (check := worker.command("check")).communicate(timeout=60)
    assert check.returncode == 2, said
    assert "'types_of_mine:never': JSON cannot fill Never: field socket: it would have to be Socket" in said
