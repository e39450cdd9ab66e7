"""How a handler is called, judged on what is really called."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.worker.test_tracebacks import CONTEXT

from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.handlers import inspected, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from somewhere import Unknown  # type: ignore[import-not-found]

    from redisqueue_worker import Context

Seen = tuple[Any, ...]


def outcome(function: Any) -> Seen:
    """What the handler was called with, for a JSON object."""
    handler = inspected(function, "x")
    result = handler.call(b'{"n": 7}', CONTEXT)
    return asyncio.run(result) if handler.is_async else result  # type: ignore[no-any-return]


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def passing_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(payload: Any, *args: Any) -> Any:
        return await function(payload, *args)

    return inner


def with_a_session(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(payload: dict[str, int]) -> Any:
        return function(payload, "session")

    return inner


def in_a_loop_of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return asyncio.run(function(*args))

    return inner


class Timed:
    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def plain(payload: dict[str, int]) -> Seen:
    return (payload,)


def contextual(payload: dict[str, int], ctx: Context) -> Seen:
    return payload, ctx


async def asynchronous(payload: dict[str, int]) -> Seen:
    await asyncio.sleep(0)
    return (payload,)


async def asynchronous_contextual(payload: dict[str, int], context: Any = None) -> Seen:
    await asyncio.sleep(0)
    return payload, context


def injected(payload: dict[str, int], session: str) -> Seen:
    return payload, session


def prefixed(prefix: str, payload: dict[str, int], context: Context) -> Seen:
    return prefix, payload, context


def for_type_checkers(payload: dict[str, int], who: Context | None = None, other: Unknown = None) -> Unknown:
    return payload, who, other


class Mailer:
    def send(self, payload: dict[str, int]) -> Seen:
        return (payload,)

    @passing
    def send_timed(self, payload: dict[str, int], context: Any) -> Seen:
        return payload, context

    @classmethod
    def of_class(cls, payload: dict[str, int]) -> Seen:
        return (payload,)

    async def __call__(self, payload: dict[str, int]) -> Seen:
        return (payload,)


DATA = {"n": 7}


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (plain, (DATA,)),
        (contextual, (DATA, CONTEXT)),
        (for_type_checkers, (DATA, CONTEXT, None)),
        (passing(plain), (DATA,)),
        (passing(passing(contextual)), (DATA, CONTEXT)),
        (passing_async(asynchronous), (DATA,)),
        (passing_async(asynchronous_contextual), (DATA, CONTEXT)),
        (with_a_session(injected), (DATA, "session")),
        (passing(with_a_session(injected)), (DATA, "session")),
        (Timed(contextual), (DATA, CONTEXT)),
        (Timed(with_a_session(injected)), (DATA, "session")),
        (functools.lru_cache(lambda payload: (payload,)), ('{"n": 7}',)),
        (functools.partial(plain), (DATA,)),
        (functools.partial(asynchronous), (DATA,)),
        (functools.partial(functools.partial(prefixed, "a")), ("a", DATA, CONTEXT)),
        (functools.partial(passing(prefixed), "a"), ("a", DATA, CONTEXT)),
        (functools.partial(injected, session="b"), (DATA, "b")),
        (functools.partial(Mailer()), (DATA,)),
        (Mailer(), (DATA,)),
        (Mailer().send, (DATA,)),
        (Mailer().send_timed, (DATA, CONTEXT)),
        (Mailer.of_class, (DATA,)),
        (passing(asynchronous), (DATA,)),
        (passing(asynchronous_contextual), (DATA, CONTEXT)),
        (Timed(asynchronous), (DATA,)),
        (in_a_loop_of_its_own(asynchronous), (DATA,)),
        (lambda *args: args, ('{"n": 7}',)),
    ],
)
def test_it_is_called_as_it_wants(function: Any, seen: Seen) -> None:
    assert outcome(function) == seen


def generator(payload: str) -> Iterator[int]:
    yield 1


async def async_generator(payload: str) -> AsyncIterator[int]:
    yield 1


class CallsAGenerator:
    def __call__(self, payload: str) -> Iterator[int]:
        yield 1


class Odd:
    def __getattr__(self, name: str) -> None:
        raise RuntimeError(name)

    def __call__(self, payload: str) -> None: ...


def unknown(payload: Unknown) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (generator, "remove the 'yield'"),
        (async_generator, "remove the 'yield'"),
        (functools.partial(generator), "remove the 'yield'"),
        (contextlib.contextmanager(generator), "remove @contextmanager and 'yield'"),
        (contextlib.asynccontextmanager(async_generator), "remove @contextmanager and 'yield'"),
        (CallsAGenerator(), "remove the 'yield'"),
        (CallsAGenerator().__call__, "remove the 'yield'"),
        (unknown, "name 'Unknown' is not defined; the type of the payload is needed at run time"),
        (functools.partial(plain, {}), "it must take (payload)"),
        (functools.partial(plain, payload={}), "it must take (payload)"),
        (passing(lambda: None), "it must take (payload)"),
        (passing(lambda a, b, c: None), "it must take (payload)"),
        (functools.wraps(contextual)(lambda **fields: None), "it must take (payload)"),
        (functools.wraps(contextual)(lambda: None), "it must take (payload)"),
        (dict.update, "'x'"),
        pytest.param(Odd(), "cannot read its signature: RuntimeError: ", id="odd"),
    ],
)
def test_what_could_never_be_called_is_refused_at_start(function: Any, problem: str) -> None:
    with pytest.raises(HandlerError) as raised:
        inspected(function, "x")
    assert problem in str(raised.value)


def test_a_method_without_its_object_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = "class Mail:\n def send(self, m): ...\n @staticmethod\n def post(m): ...\nmail = Mail()\n"
    (tmp_path / "mail_methods.py").write_text(code)
    with pytest.raises(HandlerError, match=r"mail = Mail\(\), and name mail.send"):
        load("mail_methods:Mail.send")
    assert load("mail_methods:Mail.post")
    assert load("mail_methods:mail.send")


def test_a_coroutine_of_a_wrapped_async_handler_is_run_beside_a_running_loop() -> None:
    """Thread slots: the wrapper is a plain function, so its thread has no loop, whoever else has."""

    async def scenario() -> Seen:
        return await asyncio.to_thread(outcome, passing(asynchronous))

    assert asyncio.run(scenario()) == (DATA,)
