"""Importing a handler and finding out how it wants to be called."""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from redis_message_queue.connection import ConnectionSettings
from redisqueue_worker import Context, Registry
from redisqueue_worker.context import Publisher
from redisqueue_worker.exceptions import HandlerError, InvalidPayload
from redisqueue_worker.executors import slots_for, slots_problem
from redisqueue_worker.handlers import inspected, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def a_context(timeout_seconds: float | None = None) -> Context:
    return Context(
        id="1",
        delivery_count=1,
        timeout_seconds=timeout_seconds,
        draining=threading.Event(),
        publisher=Publisher(ConnectionSettings(url="redis://localhost").connect, "jobs", "::"),
        payload="",
    )


def plain(payload: str) -> str:
    return payload


def with_context(payload: bytes, context: Context) -> tuple[bytes, str | None]:
    return payload, context.id


async def asynchronous(payload: dict[str, Any], context: Context | None = None) -> None: ...


def with_default(payload: str, tries: int = 3) -> tuple[str, int]:
    return payload, tries


def without_annotation(payload, context):  # type: ignore[no-untyped-def]
    return payload, context is not None


class Callable:
    async def __call__(self, payload: bytes) -> None: ...


def test_how_handlers_are_called() -> None:
    context = a_context()
    assert inspected(plain, "x").call(b"p", context) == "p"
    assert inspected(with_context, "x").call(b"p", context) == (b"p", "1")
    assert inspected(with_default, "x").call(b"p", context) == ("p", 3)
    assert inspected(without_annotation, "x").call(b"p", context) == ("p", True)
    assert inspected(asynchronous, "x").takes_context
    assert [inspected(one, "x").is_async for one in (plain, asynchronous, Callable())] == [False, True, True]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda: None, "must take (payload) or (payload, context)"),
        (lambda a, b, c: None, "must take (payload) or (payload, context)"),
        (lambda a, *, b: None, "must take (payload) or (payload, context)"),
        ("text", "'x' is a str, not a function"),
        (Callable, "'x' is a type, not a function"),
    ],
)
def test_what_cannot_take_a_message(function: object, problem: str) -> None:
    with pytest.raises(HandlerError) as raised:
        inspected(function, "x")
    assert problem in str(raised.value)


def test_imports_from_the_working_directory_and_the_search_path(tmp_path: Path) -> None:
    (tmp_path / "here_handlers.py").write_text("class Box:\n  @staticmethod\n  def f(payload): return 1\n")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "there_handlers.py").write_text("def f(payload): return 2\n")
    assert load("here_handlers:Box.f").call("", a_context()) == 1
    assert load("there_handlers:f", [folder]).call("", a_context()) == 2


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        (":f", "is not of the form module:function"),
        ("some_handlers:", "is not of the form module:function"),
        ("some_handlers", "registers no handler; use @handler('type'), or name a function: some_handlers:"),
        ("absent_handlers:f", "cannot import 'absent_handlers': ModuleNotFoundError"),
        ("some_handlers:absent", "'some_handlers' has no 'absent'; it offers f, g"),
        ("some_handlers:g", "annotated with <class 'int'>; use str"),
        (
            "bad_handlers:f",
            "ZeroDivisionError: division by zero (bad_handlers.py, line 2)",
        ),
        ("wrong_handlers:f", "cannot read its signature: NameError"),
    ],
)
def test_what_cannot_be_imported(tmp_path: Path, reference: str, problem: str) -> None:
    (tmp_path / "some_handlers.py").write_text("def f(payload): ...\ndef g(payload: int): ...\n")
    (tmp_path / "bad_handlers.py").write_text("\n1 / 0\n")
    (tmp_path / "wrong_handlers.py").write_text("def f(payload: 'Unknown'): ...\n")
    with pytest.raises(HandlerError) as raised:
        load(reference)
    assert problem in str(raised.value)


TYPED = """
from redisqueue_worker import Registry, handler

@handler("small")
def small(payload: dict): return "small", payload["n"]

@handler("large")
def large(payload: bytes, context): return "large", payload, context.id

own = Registry()

@own("mine")
async def mine(payload): ...

mixed = Registry()
mixed("a")(small)
mixed("b")(mine)
"""


@pytest.mark.parametrize("reference", ["typed_handlers", "typed_handlers:handler"])
def test_the_type_says_which_function_a_message_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.setattr("redisqueue_worker.handlers.handler", Registry())
    (tmp_path / "typed_handlers.py").write_text(TYPED)
    loaded = load(reference)
    assert not loaded.is_async
    assert loaded.call(b'{"type": "small", "n": 7}', a_context()) == ("small", 7)
    assert loaded.call('{"type": "large"}', a_context()) == ("large", b'{"type": "large"}', "1")
    assert load("typed_handlers:own").is_async
    for payload, problem in (
        (b"secret", "not JSON: Expecting value at line 1 column 1"),
        (b"[1]", "not a JSON object with a text in its field 'type'"),
        (b'{"type": ["small"]}', "not a JSON object with a text in its field 'type'"),
        (b'{"type": "huge"}', "unknown type 'huge'; there are small, large"),
    ):
        with pytest.raises(InvalidPayload) as refused:
            loaded.call(payload, a_context())
        assert str(refused.value) == problem
    mixed = load("typed_handlers:mixed")
    assert mixed.is_async is None
    kinds = {name: mixed.chosen_for(json.dumps({"type": name})).is_async for name in ("a", "b")}
    assert kinds == {"a": False, "b": True}
    assert slots_for(mixed) == "threads and tasks"
    assert [slots_problem(wanted, mixed) is None for wanted in ("auto", "processes", "threads", "tasks")] == [
        *(True, True, False, False)
    ]


def test_a_module_means_what_it_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redisqueue_worker.handlers.handler", Registry())
    package = tmp_path / "shop_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    one = "from redisqueue_worker import Registry\nmine = same = Registry()\nmine('a')(lambda payload: 7)\n"
    (package / "orders.py").write_text(one)
    (package / "mails.py").write_text(one + "other = Registry()\nother('b')(print)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load("shop_of_tests.orders").call('{"type": "a"}', a_context()) == 7
    with pytest.raises(HandlerError, match="registers no handler"):
        load("shop_of_tests.mails")
    with pytest.raises(HandlerError, match=r"for a function write 'shop_of_tests\.orders:mine'"):
        load("shop_of_tests.orders.mine")


@pytest.mark.parametrize(
    ("register", "problem"),
    [
        (lambda registry: registry(""), "type '' is empty"),
        (lambda registry: registry("a")(plain) and registry("a"), "type 'a' is already handled"),
        (lambda registry: registry(plain), "the type must be a text, as in @handler('resize')"),
    ],
)
def test_a_wrong_registration_is_told(register: Any, problem: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        register(Registry())
    assert problem in str(raised.value)


def test_a_deadline_only_moves_away() -> None:
    context = a_context(timeout_seconds=10)
    context.extend(5)
    assert context.remaining_seconds == pytest.approx(10, abs=1)
    context.extend(100)
    assert context.remaining_seconds == pytest.approx(100, abs=1)
    assert context.deadline is not None
    with pytest.raises(ValueError, match="seconds: 0 must be above 0"):
        context.extend(0)
    without = a_context()
    without.extend(5)
    assert without.deadline is None


def test_the_logger_of_a_message_names_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        a_context().logger.info("working on %d", 7, extra={"step": 2})
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["message_id"], vars(record)["step"]) == ("working on 7", "1", 2)


def test_a_module_that_raises_what_is_no_exception_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "no_exception.py").write_text("raise GeneratorExit('at its import')\n")
    with pytest.raises(HandlerError, match="cannot import 'no_exception': GeneratorExit: at its import"):
        load("no_exception:handle")
