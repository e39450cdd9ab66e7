"""Functions around handlers: their order, what they see and change, and which ones cannot be."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_worker import CallNext, Context, DeadLetter, Registry, Retry
from redisqueue_worker.exceptions import HandlerError
from redisqueue_worker.handlers import load
from redisqueue_worker.hooks import HookError, Hooks, around
from redisqueue_worker.testing import FakeContext, deliver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Order:
    id: int


@pytest.fixture(autouse=True)
def _no_hooks_but_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "_hooks", [])


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def a_registry(kind: str, *hooks: Any, handler: Any = None) -> Registry:
    """One handler, of type "order", with hooks around it; each hook is made for the kind."""
    registry = Registry()
    handler = handler or (lambda order, context: order.id)

    if kind == "sync":

        @registry("order")
        def take(order: Order, context: Context) -> Any:
            return handler(order, context)

    else:

        @registry("order")
        async def take_async(order: Order, context: Context) -> Any:
            await asyncio.sleep(0)
            return handler(order, context)

    for hook in hooks:
        registry.around(hook(kind))
    return registry


def noting(seen: list[str], name: str) -> Any:
    def made(kind: str) -> Any:
        def sync(call_next: CallNext, payload: Order, context: Context) -> Any:
            seen.append(f"{name} in")
            try:
                return call_next(payload)
            finally:
                seen.append(f"{name} out")

        async def asynchronous(call_next: CallNext, payload: Order, context: Context) -> Any:
            seen.append(f"{name} in")
            try:
                return await call_next(payload)
            finally:
                seen.append(f"{name} out")

        return sync if kind == "sync" else asynchronous

    return made


def hook_of(before: Any) -> Any:
    """A hook that does `before(call, payload, context)`, where `call` gives what the handler did."""

    def made(kind: str) -> Any:
        def sync(call_next: CallNext, payload: Any, context: Context) -> Any:
            return before(call_next, payload, context)

        async def asynchronous(call_next: CallNext, payload: Any, context: Context) -> Any:
            result = before(call_next, payload, context)
            return await result if asyncio.iscoroutine(result) else result

        return sync if kind == "sync" else asynchronous

    return made


def test_the_first_is_the_outermost_and_those_of_the_process_are_outside(kind: str) -> None:
    seen: list[str] = []
    around(noting(seen, "process")(kind))
    registry = a_registry(
        kind,
        noting(seen, "first"),
        noting(seen, "second"),
        handler=lambda order, context: seen.append(f"order {order.id}"),
    )
    assert deliver(registry, {"id": 7}, type="order").state == "done"
    wanted = ["process in", "first in", "second in", "order 7", "second out", "first out", "process out"]
    assert seen == wanted


def test_a_plain_handler_has_those_of_the_process(kind: str) -> None:
    seen: list[str] = []
    around(noting(seen, "hook")(kind))

    def plain(payload: str) -> str:
        return payload.upper()

    async def plain_async(payload: str) -> str:
        return payload.upper()

    delivery = deliver(plain if kind == "sync" else plain_async, "loud")
    assert (delivery.value, seen) == ("LOUD", ["hook in", "hook out"])


def test_a_hook_sees_the_typed_payload_and_the_context_and_changes_what_it_likes(kind: str) -> None:
    seen: list[Any] = []

    def change(call_next: CallNext, payload: Order, context: Context) -> Any:
        seen.append((payload, context.id))
        return call_next(replace(payload, id=payload.id + 1))

    registry = a_registry(kind, hook_of(change))
    delivery = deliver(registry, {"id": 7}, type="order", message_id="m-1")
    assert delivery.value == 8
    assert seen == [(Order(7), "m-1")]


def test_a_hook_may_hand_on_another_context(kind: str) -> None:
    other = FakeContext(message_id="other")
    registry = a_registry(
        kind,
        hook_of(lambda call_next, payload, context: call_next(payload, other)),
        handler=lambda order, context: context.id,
    )
    assert deliver(registry, {"id": 7}, type="order").value == "other"


@pytest.mark.parametrize(
    ("error", "state"), [(Retry(5), "retried"), (DeadLetter("no"), "dead"), (RuntimeError("no"), "retried")]
)
def test_what_a_hook_raises_is_the_outcome(kind: str, error: Exception, state: str) -> None:
    def refuse(call_next: CallNext, payload: Order, context: Context) -> Any:
        raise error

    handled: list[int] = []
    registry = a_registry(kind, hook_of(refuse), handler=lambda order, context: handled.append(order.id))
    delivery = deliver(registry, {"id": 7}, type="order")
    assert (delivery.state, delivery.exception, handled) == (state, error, [])


def test_a_hook_may_turn_one_exception_into_another(kind: str) -> None:
    def sync(call_next: CallNext, payload: Order, context: Context) -> Any:
        try:
            return call_next(payload)
        except ConnectionError as error:
            raise Retry(60) from error

    async def asynchronous(call_next: CallNext, payload: Order, context: Context) -> Any:
        try:
            return await call_next(payload)
        except ConnectionError as error:
            raise Retry(60) from error

    def away(order: Order, context: Context) -> None:
        raise ConnectionError("no bank")

    registry = a_registry(kind, lambda kind: sync if kind == "sync" else asynchronous, handler=away)
    assert deliver(registry, {"id": 7}, type="order").delay_seconds == 60


def test_a_hook_that_does_not_go_on_has_done_the_message(kind: str) -> None:
    def skip(call_next: CallNext, payload: Order, context: Context) -> str:
        return "done before"

    registry = a_registry(kind, hook_of(skip), handler=lambda order, context: pytest.fail("handled"))
    delivery = deliver(registry, {"id": 7}, type="order")
    assert (delivery.state, delivery.value) == ("done", "done before")


def test_a_hook_may_try_again_at_once() -> None:
    registry = Registry()
    tries: list[int] = []

    @registry("order")
    async def take(order: Order) -> int:
        tries.append(order.id)
        if len(tries) < 3:
            raise ConnectionError
        return len(tries)

    @registry.around
    async def stubborn(call_next: CallNext, payload: Order, context: Context) -> Any:
        while True:
            try:
                return await call_next(payload)
            except ConnectionError:
                await asyncio.sleep(0)

    assert deliver(registry, {"id": 7}, type="order").value == 3


def test_a_payload_that_does_not_fit_meets_no_hook(kind: str) -> None:
    seen: list[str] = []
    registry = a_registry(kind, noting(seen, "hook"))
    assert deliver(registry, {"id": "seven"}, type="order").state == "dead"
    assert deliver(registry, {"id": 7}, type="offer").reason.startswith("unknown type")
    assert seen == []


def test_what_a_handler_leaves_undone_is_a_failure_that_its_hooks_see(kind: str) -> None:
    seen: list[str] = []

    def look(call_next: CallNext, payload: Order, context: Context) -> Any:
        try:
            return call_next(payload)
        except Exception as error:
            seen.append(str(error))
            raise

    async def look_async(call_next: CallNext, payload: Order, context: Context) -> Any:
        try:
            return await call_next(payload)
        except Exception as error:
            seen.append(str(error))
            raise

    registry = a_registry(
        kind,
        lambda kind: look if kind == "sync" else look_async,
        handler=lambda order, context: Retry(1),
    )
    assert deliver(registry, {"id": 7}, type="order").state == "retried"
    assert seen == ["the handler returned Retry; raise it"]


def test_an_async_hook_that_does_not_await_its_handler_has_failed() -> None:
    handled: list[int] = []

    async def forgetful(call_next: CallNext, payload: Order, context: Context) -> None:
        call_next(payload)

    async def handing_out(call_next: CallNext, payload: Order, context: Context) -> Any:
        return call_next(payload)

    async def beside(call_next: CallNext, payload: Order, context: Context) -> None:
        tasks.append(asyncio.ensure_future(call_next(payload)))

    tasks: list[Any] = []
    for hook in (forgetful, handing_out, beside):
        registry = a_registry(
            "async", lambda _, hook=hook: hook, handler=lambda order, context: handled.append(order.id)
        )
        delivery = deliver(registry, {"id": 7}, type="order")
        assert delivery.state == "retried"
        assert f"{hook.__name__} was over before its handler: await call_next(payload)" in delivery.reason
    assert handled == []


def test_a_sync_hook_that_hands_out_a_coroutine_is_named() -> None:
    async def later(payload: Order) -> None: ...

    def handing_out(call_next: CallNext, payload: Order, context: Context) -> Any:
        return later(payload)

    delivery = deliver(a_registry("sync", lambda _: handing_out), {"id": 7}, type="order")
    assert "handing_out returned a coroutine that nobody awaits" in delivery.reason


def test_a_def_around_an_async_def_has_sync_hooks() -> None:
    seen: list[str] = []
    registry = Registry()

    async def inner(order: Order) -> int:
        return order.id

    @registry("order")
    @functools.wraps(inner)
    def take(*arguments: Any) -> Any:
        return inner(*arguments)

    registry.around(noting(seen, "hook")("sync"))
    assert deliver(registry, {"id": 7}, type="order").value == 7
    assert seen == ["hook in", "hook out"]


# ---- which ones cannot be ----


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "sync",
            r"the hook .*asynchronous has async def and the handler has def: it cannot be awaited there",
        ),
        (
            "async",
            r"the hook .*sync has def and the handler has async def: it would be over before the handl",
        ),
    ],
)
def test_a_hook_of_the_other_kind_is_refused_with_the_way_out(kind: str, text: str) -> None:
    other = "async" if kind == "sync" else "sync"
    registry = a_registry(kind, lambda _: noting([], "hook")(other))
    with pytest.raises(HandlerError, match=rf"@handler\('order'\).*{text}.*@around\(handlers='{kind}'\)"):
        deliver(registry, {"id": 7}, type="order")


def test_one_of_each_kind_stands_around_handlers_of_both() -> None:
    seen: list[str] = []
    registry = Registry()
    registry.around(handlers="sync")(noting(seen, "def")("sync"))
    registry.around(handlers="async")(noting(seen, "async def")("async"))

    @registry("a")
    def first(payload: dict[str, Any]) -> None: ...

    @registry("b")
    async def second(payload: dict[str, Any]) -> None: ...

    deliver(registry, {}, type="a")
    deliver(registry, {}, type="b")
    assert seen == ["def in", "def out", "async def in", "async def out"]


def makes_a_generator(call_next: Any, payload: Any, context: Any) -> Iterator[None]:
    yield


async def right(call_next: Any, payload: Any, context: Any) -> None: ...


@pytest.mark.parametrize(
    ("hook", "handlers", "error", "text"),
    [
        (lambda payload, context: None, "all", TypeError, r"must take \(call_next, payload, context\)"),
        (lambda *, call_next: None, "all", TypeError, r"must take \(call_next, payload, context\)"),
        ("sentry", "all", TypeError, "'sentry' is no function"),
        (Order, "all", TypeError, "Order.* is no function"),
        (makes_a_generator, "all", TypeError, "makes_a_generator: it has a 'yield'"),
        (right, "sync", TypeError, "right: handlers='sync' is for hooks with def"),
        (right, "tasks", ValueError, "right: handlers: 'tasks' must be one of all, sync, async"),
    ],
)
def test_what_can_be_no_hook_is_refused_where_it_stands(
    hook: Any, handlers: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        around(handlers=handlers)(hook)
    assert not around


@pytest.mark.parametrize("hook", [functools.partial(noting([], "x")("sync")), noting([], "x")("sync")])
def test_a_partial_is_a_hook(hook: Any) -> None:
    assert around(hook) is hook
    assert len(around) == 1


def test_a_hook_that_comes_with_the_start_is_too_late() -> None:
    hooks = Hooks()
    hooks.on_startup(lambda: around(noting([], "late")("sync")))
    with pytest.raises(HookError, match=r"too late with an @around hook: register it while the module is im"):
        hooks.start(asyncio.run)


def test_modules_with_hooks_are_imported_first(tmp_path: Path) -> None:
    (tmp_path / "outer_hooks.py").write_text(
        "from redisqueue_worker import around\nSEEN = []\n"
        "@around\ndef outer(call_next, payload, context):\n"
        "    SEEN.append('outer')\n    return call_next(payload)\n"
    )
    (tmp_path / "hooked_handlers.py").write_text(
        "from redisqueue_worker import around\nfrom outer_hooks import SEEN\n"
        "@around\ndef inner(call_next, payload, context):\n"
        "    SEEN.append('inner')\n    return call_next(payload)\n"
        "def handle(payload):\n    return list(SEEN)\n"
    )
    handler = load("hooked_handlers:handle", [tmp_path], ["outer_hooks"])
    assert handler.call("x", FakeContext()) == ["outer", "inner"]
    with pytest.raises(HandlerError, match=r"REDISQUEUE_HOOKS \(--hooks\): cannot import 'no_such_hooks'"):
        load("hooked_handlers:handle", [tmp_path], ["no_such_hooks"])
