"""The two faces offer the same names with the same parameters, so that neither drifts."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis

import redis_message_queue as sync_face
import redis_message_queue.asyncio as async_face
from redis_message_queue import EventOperation, EventOutcome, QueueEvent, server, stats

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

OWN_TO_A_FACE = {"close", "aclose"}


def public(cls: type) -> dict[str, object]:
    members = {name for name in dir(cls) if not name.startswith("_")} | {"__init__"}
    return {name: inspect.getattr_static(cls, name) for name in members - OWN_TO_A_FACE}


def parameters(member: object) -> list[tuple[str, object, object]] | None:
    if not callable(member):
        return None
    return [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]


def modules() -> list[str]:
    """The public modules that both faces have, by their name below the package."""
    names = {module.name for module in pkgutil.iter_modules(async_face.__path__)}
    return ["", *sorted(f".{name}" for name in names if not name.startswith("_"))]


def pair(module: str) -> tuple[ModuleType, ModuleType]:
    return tuple(importlib.import_module(f"{face.__name__}{module}") for face in (sync_face, async_face))  # type: ignore[return-value]


def twins() -> Iterator[tuple[str, object, object]]:
    """What both faces have under one name, and yet is not the same object; then functions on a client."""
    for module in modules():
        ours, theirs = pair(module)
        for name in getattr(ours, "__all__", ["RedisMessageQueue"]):
            if getattr(ours, name) is not getattr(theirs, name):
                yield f"{module}:{name}", getattr(ours, name), getattr(theirs, name)
    for both in (stats, server):
        for name in both.__all__:
            if name.endswith("_async"):
                plain = name.removesuffix("_async")
                yield f"{both.__name__}:{plain}", getattr(both, plain), getattr(both, name)


@pytest.mark.parametrize("module", modules())
def test_names_are_equal(module: str) -> None:
    ours, theirs = pair(module)
    assert getattr(ours, "__all__", None) == getattr(theirs, "__all__", None)


@pytest.mark.parametrize(("name", "ours", "theirs"), list(twins()))
def test_signatures_are_equal(name: str, ours: Any, theirs: Any) -> None:
    if not inspect.isclass(ours):
        assert parameters(ours) == parameters(theirs)
        return
    mine, other = public(ours), public(theirs)
    assert mine.keys() == other.keys()
    for member in mine:
        assert parameters(mine[member]) == parameters(other[member]), member


@pytest.mark.parametrize(("name", "ours", "theirs"), list(twins()))
def test_both_tell_what_they_do(name: str, ours: Any, theirs: Any) -> None:
    for face in (ours, theirs):
        members = public(face) if inspect.isclass(face) else {name: face}
        silent = [member for member, value in members.items() if not inspect.getdoc(value)]
        assert not set(silent) - {"__init__"}


def test_every_public_class_has_its_twin_looked_at() -> None:
    names = {name.rpartition(":")[2] for name, *_ in twins()}
    assert names >= {
        "RedisMessageQueue",
        "RedisGateway",
        "AbstractRedisGateway",
        "Consumer",
        "sample",
        "server_facts",
    }


def test_closing_names() -> None:
    assert hasattr(sync_face.RedisMessageQueue, "close")
    assert not hasattr(sync_face.RedisMessageQueue, "aclose")
    assert hasattr(async_face.RedisMessageQueue, "aclose")
    assert not hasattr(async_face.RedisMessageQueue, "close")


def test_only_three_names_differ() -> None:
    assert sync_face.__all__ == async_face.__all__
    different = {n for n in sync_face.__all__ if getattr(sync_face, n) is not getattr(async_face, n)}
    assert different == {"RedisMessageQueue", "RedisGateway", "AbstractRedisGateway"}


@pytest.mark.parametrize("face", [sync_face, async_face])
def test_the_queue_is_importable_from_its_module_too(face: ModuleType) -> None:
    module = importlib.import_module(f"{face.__name__}.redis_message_queue")
    assert module.RedisMessageQueue is face.RedisMessageQueue


@pytest.mark.parametrize("face", [sync_face, async_face])
def test_later_names_are_importable_beside_the_old_ones(face: ModuleType) -> None:
    later = (
        "ClaimStoreFailedError CurrentMessage DrainFailedError EventDrivenInterruptHandler"
        " Letter Location MalformedStoredMessageError PayloadTooDeepError PayloadTooLargeError QueueStats"
        " Receipt RedriveProgress current_message"
    )
    for name in later.split():
        assert getattr(face, name) is getattr(sync_face, name)
        assert name not in face.__all__


def test_documented_shapes() -> None:
    assert " ".join(EventOperation) == (
        "publish publish_dedup_hit claim claim_empty claim_reclaim ack nack dlq completed failed"
        " lease_renew lease_renew_failed heartbeat_stop_timeout stale_lease_ack stale_lease_nack"
        " cleanup_failed trim_failed retry_attempt retry_exhausted drain cancel"
    )
    assert [operation.name for operation in EventOperation] == [word.upper() for word in EventOperation]
    assert " ".join(EventOutcome) == "success failure skipped start"
    assert " ".join(QueueEvent.__dataclass_fields__) == (
        "queue operation outcome message_id claim_id lease_token_hash destination_queue exception_type"
        " duration_ms error delivery_count max_delivery_count timeout_seconds pending_claim_ids"
    )
    assert list(sync_face.ClaimedMessage.__dataclass_fields__)[:2] == ["stored_message", "lease_token"]
    assert sync_face.interrupt_handler.__all__ == ["GracefulInterruptHandler", "BaseGracefulInterruptHandler"]
    assert sync_face.ConfigurationError.__mro__[1:3] == (sync_face.RedisMessageQueueError, ValueError)
    assert sync_face.LuaScriptError.__bases__ == (
        redis.exceptions.ResponseError,
        sync_face.RedisMessageQueueError,
    )


@pytest.mark.parametrize("face", ["redis_message_queue", "redis_message_queue.asyncio"])
def test_a_name_is_imported_when_it_is_asked_for(face: str) -> None:
    """In a fresh process: here everything is imported already."""
    code = f"""
import sys, {face} as face
assert "redis_message_queue.stats" not in sys.modules
assert sorted(face.__all__) == sorted(set(face.__all__) & set(dir(face)))
assert not hasattr(face, "nothing")
for name in {sorted(set(dir(async_face)) & set(dir(sync_face)))!r}:
    getattr(face, name)
from {face} import *
assert RedisMessageQueue is face.RedisMessageQueue is face.redis_message_queue.RedisMessageQueue
import redis_message_queue
assert issubclass(redis_message_queue.exceptions.LuaScriptError, redis_message_queue.RedisMessageQueueError)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
