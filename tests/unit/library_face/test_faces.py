"""The two faces offer the same names with the same parameters, so that neither drifts."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

import pytest
import redis

import redis_message_queue as sync_face
import redis_message_queue.asyncio as async_face
from redis_message_queue import EventOperation, EventOutcome, QueueEvent

if TYPE_CHECKING:
    from types import ModuleType

OWN_TO_A_FACE = {"close", "aclose"}


def public(cls: type) -> dict[str, object]:
    members = {name for name in dir(cls) if not name.startswith("_")} | {"__init__"}
    return {name: inspect.getattr_static(cls, name) for name in members - OWN_TO_A_FACE}


def parameters(member: object) -> list[tuple[str, object, object]] | None:
    if not callable(member):
        return None
    return [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]


@pytest.mark.parametrize("name", ["RedisMessageQueue", "RedisGateway", "AbstractRedisGateway"])
def test_signatures_are_equal(name: str) -> None:
    ours, theirs = public(getattr(sync_face, name)), public(getattr(async_face, name))
    assert ours.keys() == theirs.keys()
    for member in ours:
        assert parameters(ours[member]) == parameters(theirs[member]), member


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
        " MalformedStoredMessageError PayloadTooDeepError PayloadTooLargeError QueueStats RedriveProgress"
        " current_message"
    )
    for name in later.split():
        assert getattr(face, name) is getattr(sync_face, name)
        assert name not in face.__all__


def test_documented_shapes() -> None:
    assert " ".join(EventOperation) == (
        "publish publish_dedup_hit claim claim_empty claim_reclaim ack nack dlq completed failed"
        " lease_renew lease_renew_failed heartbeat_stop_timeout stale_lease_ack stale_lease_nack"
        " cleanup_failed trim_failed retry_attempt retry_exhausted drain"
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
