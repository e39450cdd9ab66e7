"""Wrong arguments are refused at construction, by name, before anything is sent."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
import redis
import redis.asyncio

import redis_message_queue as sync_face
import redis_message_queue.asyncio as async_face
from redis_message_queue import ConfigurationError, GatewayContractError
from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.consumer import Consumer

if TYPE_CHECKING:
    import asyncio

FACES = pytest.mark.parametrize("face", [sync_face, async_face], ids=["sync", "async"])


class Duck:
    """A client with no method at all: construction must not use any."""

    def __bool__(self) -> bool:
        return False


def build(face: Any, name: Any = "q", **options: Any) -> Any:
    if not options.keys() & {"client", "gateway"}:
        options["client"] = Duck()
    return face.RedisMessageQueue(name, **options)


class Count(IntEnum):
    THREE = 3


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": 5}, TypeError, "'name' must be a string"),
    ({"name": " \t"}, ConfigurationError, "'name' must be a non-empty string"),
    ({"name": "a\x00b"}, ConfigurationError, "null"),
    ({"name": "a::b"}, ConfigurationError, "must not contain the key separator"),
    ({"key_separator": 1}, TypeError, "'key_separator' must be a string"),
    ({"key_separator": ""}, ConfigurationError, "'key_separator' must be a non-empty string"),
    ({"deduplication": 1}, TypeError, "'deduplication' must be a bool"),
    ({"enable_completed_queue": None}, TypeError, "'enable_completed_queue' must be a bool"),
    ({"enable_failed_queue": "x"}, TypeError, "'enable_failed_queue' must be a bool"),
    ({"max_completed_length": 1.5}, TypeError, "'max_completed_length' must be an int or None"),
    ({"max_completed_length": True}, TypeError, "'max_completed_length' must be an int or None"),
    ({"max_completed_length": -1}, ConfigurationError, "'max_completed_length' must not be below 0"),
    (
        {"max_completed_length": 0, "enable_completed_queue": True},
        ConfigurationError,
        "'max_completed_length' must be positive with 'enable_completed_queue=True'",
    ),
    (
        {"max_completed_length": 5, "enable_completed_queue": False},
        ConfigurationError,
        "requires 'enable_completed_queue=True'; or leave 'enable_completed_queue' out",
    ),
    (
        {"max_failed_length": 5, "enable_failed_queue": False},
        ConfigurationError,
        "requires 'enable_failed_queue=True'",
    ),
    ({"max_delivery_count": "1"}, TypeError, "'max_delivery_count' must be an int or None"),
    ({"max_delivery_count": 0}, ConfigurationError, "'max_delivery_count' must be positive"),
    ({"visibility_timeout_seconds": None}, ConfigurationError, "requires 'visibility_timeout_seconds'"),
    ({"visibility_timeout_seconds": 1.0}, TypeError, "visibility_timeout_seconds"),
    ({"visibility_timeout_seconds": 0}, ConfigurationError, "visibility_timeout_seconds"),
    ({"visibility_timeout_seconds": 2**62}, ConfigurationError, "visibility_timeout.* must not be above 315"),
    ({"get_deduplication_key": "x"}, TypeError, "'get_deduplication_key' must be callable"),
    (
        {"get_deduplication_key": str, "deduplication": False},
        ConfigurationError,
        "'get_deduplication_key' cannot be provided when 'deduplication' is disabled",
    ),
    ({"max_pending_length": 0}, ConfigurationError, "max_pending_length"),
    ({"max_pending_length": "x"}, TypeError, "max_pending_length"),
    ({"pending_overload_policy": None}, TypeError, "pending_overload_policy"),
    ({"pending_overload_policy": "drop"}, ConfigurationError, "pending_overload_policy"),
    (
        {"pending_overload_policy": "drop_oldest"},
        ConfigurationError,
        "drop_oldest requires max_pending_length to be set",
    ),
    ({"pending_overload_policy": "block"}, ConfigurationError, "requires max_pending_length to be set"),
    (
        {"pending_overload_policy": "drop_oldest", "max_pending_length": 1},
        ConfigurationError,
        "drop_oldest.*deduplication.*silently suppressed",
    ),
    (
        {"pending_overload_policy": "drop_oldest", "max_pending_length": 1, "deduplication": False},
        ConfigurationError,
        "drop_oldest is incompatible with max_delivery_count",
    ),
    ({"pending_overload_block_timeout_seconds": True}, TypeError, "pending_overload_block_timeout_seconds"),
    *(
        (
            {"pending_overload_block_timeout_seconds": value},
            ConfigurationError,
            "pending_overload_block_timeout_seconds",
        )
        for value in (float("nan"), float("inf"), -1)
    ),
    ({"on_heartbeat_failure": 1}, TypeError, "'on_heartbeat_failure' must be callable"),
    ({"on_heartbeat_failure": int}, ConfigurationError, "requires 'heartbeat_interval_seconds'"),
    ({"on_event": 1}, TypeError, "'on_event' must be callable"),
    ({"heartbeat_interval_seconds": "1"}, TypeError, "heartbeat_interval_seconds"),
    ({"heartbeat_interval_seconds": Decimal(1)}, TypeError, "heartbeat_interval_seconds"),
    ({"heartbeat_interval_seconds": float("inf")}, ConfigurationError, "finite number"),
    ({"heartbeat_interval_seconds": 10**5000}, ConfigurationError, "finite number"),
    ({"heartbeat_interval_seconds": 0}, ConfigurationError, "heartbeat_interval_seconds"),
    ({"heartbeat_interval_seconds": 150}, ConfigurationError, "less than half"),
    (
        {"heartbeat_interval_seconds": 1, "visibility_timeout_seconds": None, "max_delivery_count": None},
        ConfigurationError,
        "requires 'visibility_timeout_seconds'",
    ),
    ({"interrupt": object()}, TypeError, "'interrupt' must be a BaseGracefulInterruptHandler"),
]


@FACES
@pytest.mark.parametrize(("options", "error", "text"), WRONG)
def test_a_wrong_argument_is_named(
    face: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        build(face, **options)


@pytest.mark.parametrize("consumer", [Consumer, AsyncConsumer])
@pytest.mark.parametrize(
    "options",
    [
        {"visibility_timeout_seconds": 1e300},
        {"visibility_timeout_seconds": 10**5000},
        {"visibility_timeout_seconds": float("nan")},
        {"keep_completed": 10**20},
        {"keep_failed": 10**5000},
        {"keep_dead_letter_info": -1},
    ],
)
def test_a_number_that_no_server_can_count_is_named(consumer: Any, options: dict[str, Any]) -> None:
    client: Any = redis.Redis() if consumer is Consumer else redis.asyncio.Redis()
    with pytest.raises(ConfigurationError, match=f"'{next(iter(options))}' must be .* at most"):
        consumer(client, "jobs", **options)


@FACES
def test_neither_client_nor_gateway(face: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be provided"):
        face.RedisMessageQueue("q")


@FACES
@pytest.mark.parametrize(
    "options",
    [
        {"name": "a\n\x1b[31m:b c"},
        {"max_completed_length": 1000},
        {"visibility_timeout_seconds": None, "max_delivery_count": None},
        {"max_delivery_count": Count.THREE},
        {"get_deduplication_key": None, "deduplication": False},
        {"heartbeat_interval_seconds": 149.9},
        {"name": "a::b", "key_separator": "|"},
    ],
)
def test_unusual_but_right(face: Any, options: dict[str, Any]) -> None:
    assert build(face, **options).key.pending.endswith("pending")


@FACES
@pytest.mark.parametrize(
    "options",
    [
        {"client": Duck()},
        {"visibility_timeout_seconds": 60},
        {"max_delivery_count": 3},
        {"max_pending_length": 5},
    ],
)
def test_what_belongs_to_the_gateway_is_refused_beside_one(face: Any, options: dict[str, Any]) -> None:
    gateway = face.RedisGateway(redis_client=Duck())
    with pytest.raises(ConfigurationError, match="cannot be provided alongside"):
        build(face, gateway=gateway, **options)
    assert build(face, gateway=gateway, visibility_timeout_seconds=300, max_delivery_count=10)


def test_the_gateway_must_be_of_the_same_face() -> None:
    with pytest.raises(GatewayContractError, match="'gateway' must be an AbstractRedisGateway"):
        build(sync_face, gateway=object())
    with pytest.raises(GatewayContractError, match=r"AbstractRedisGateway.*redis_message_queue\.asyncio"):
        build(sync_face, gateway=async_face.RedisGateway(redis_client=Duck()))
    with pytest.raises(GatewayContractError, match="AbstractRedisGateway"):
        build(async_face, gateway=sync_face.RedisGateway(redis_client=Duck()))


@FACES
def test_a_counting_gateway_serves_one_queue(face: Any) -> None:
    gateway = face.RedisGateway(
        redis_client=Duck(),
        message_visibility_timeout_seconds=30,
        max_delivery_count=3,
        dead_letter_queue="dead",
    )
    assert build(face, gateway=gateway)
    assert build(face, gateway=gateway)
    with pytest.raises(ConfigurationError, match="cannot be reused across different queues"):
        build(face, "other", gateway=gateway)


@FACES
@pytest.mark.parametrize(
    ("timeout", "error"), [(True, GatewayContractError), ("5", GatewayContractError), (0, ConfigurationError)]
)
def test_the_visibility_timeout_of_a_foreign_gateway_is_checked(
    face: Any, timeout: object, error: type[Exception]
) -> None:
    methods = dict.fromkeys(face.AbstractRedisGateway.__abstractmethods__, lambda self: None)
    foreign = type("Foreign", (face.AbstractRedisGateway,), methods)
    assert build(face, gateway=foreign())
    foreign.message_visibility_timeout_seconds = timeout
    with pytest.raises(error, match="message_visibility_timeout_seconds"):
        build(face, gateway=foreign())


@FACES
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"message_deduplication_log_ttl_seconds": 0}, ConfigurationError, "message_deduplication_log_ttl"),
        ({"message_wait_interval_seconds": -1}, ConfigurationError, "message_wait_interval_seconds"),
        ({"message_wait_interval_seconds": 1.5}, TypeError, "message_wait_interval_seconds"),
        ({"retry_budget_seconds": -1}, ConfigurationError, "retry_budget_seconds"),
        ({"retry_initial_delay_seconds": 0}, ConfigurationError, "retry_initial_delay_seconds"),
        ({"retry_initial_delay_seconds": 9}, ConfigurationError, "retry_initial_delay_seconds"),
        ({"max_delivery_count": 1}, ConfigurationError, "requires 'message_visibility_timeout_seconds'"),
        (
            {"max_delivery_count": 1, "message_visibility_timeout_seconds": 5},
            ConfigurationError,
            "'dead_letter_queue' is required",
        ),
        ({"dead_letter_queue": "d"}, ConfigurationError, "'max_delivery_count' is required"),
        ({"dead_letter_queue": 5}, TypeError, "'dead_letter_queue' must be a str or None"),
        ({"dead_letter_queue": " "}, ConfigurationError, "dead_letter_queue"),
    ],
)
def test_gateway_arguments(face: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        face.RedisGateway(redis_client=Duck(), **options)


def test_a_sync_queue_refuses_async_callbacks() -> None:
    async def awaited(*_: object) -> str:
        return ""

    class Awaited:
        async def __call__(self, *_: object) -> None: ...

    for name in ("get_deduplication_key", "on_event", "on_heartbeat_failure"):
        for callback in (awaited, Awaited()):
            with pytest.raises(TypeError, match=r"is an async callable.*async RedisMessageQueue"):
                build(sync_face, **{name: callback})


def test_an_async_queue_refuses_a_plain_event_callback() -> None:
    def declared(event: object) -> asyncio.Future[None]:
        raise NotImplementedError

    with pytest.raises(TypeError, match="async callable"):
        build(async_face, on_event=lambda event: None)
    assert build(async_face, on_event=declared)


def test_clients_that_would_misbehave_are_refused() -> None:
    sentinel = redis.sentinel.Sentinel([])
    url = "redis://localhost:1"
    plain, awaited = redis.Redis.from_url(url), redis.asyncio.Redis.from_url(url)
    for face, client, text in (
        (sync_face, awaited, "async Redis client"),
        (sync_face, MagicMock(spec=redis.asyncio.RedisCluster), "async Redis client"),
        (async_face, plain, "sync Redis client"),
        (sync_face, sentinel, r"Sentinel manager object.*sentinel\.master_for\(name\)"),
        (async_face, redis.asyncio.sentinel.Sentinel([]), "Sentinel manager object"),
        (sync_face, plain.pipeline(), "Pipeline"),
        (async_face, awaited.pipeline(), "Pipeline"),
        (async_face, redis.asyncio.Redis(single_connection_client=True), "single-connection client"),
    ):
        with pytest.raises(TypeError, match=text):
            build(face, client=client)


def test_cluster_queues_need_a_tag() -> None:
    client = MagicMock(spec=redis.RedisCluster)
    with pytest.raises(ConfigurationError, match="Redis Cluster requires queue keys to share a hash tag"):
        build(sync_face, "orders", client=client)
    assert build(sync_face, "{orders}", client=client)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((b"x", 1), TypeError, "lease_token"),
        ((b"x", ""), ValueError, "lease_token"),
        ((bytearray(b"x"), "1"), TypeError, "stored_message"),
    ],
)
def test_claimed_message(arguments: tuple[Any, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        sync_face.ClaimedMessage(*arguments)
    assert hash(sync_face.ClaimedMessage(b"x", "1")) == hash(sync_face.ClaimedMessage(b"x", "1"))
