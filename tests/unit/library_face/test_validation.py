"""Wrong arguments are refused at construction, by name, before anything is sent."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest
import redis
import redis.asyncio

import redis_message_queue as sync_face
import redis_message_queue.asyncio as async_face
from redis_message_queue import ConfigurationError, GatewayContractError
from redis_message_queue.asyncio.consumer import Consumer as AsyncConsumer
from redis_message_queue.consumer import Claim, Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.leases import LeaseKeeper

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


CLAIM = Claim("stored", "1", None, "payload", 1)


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
    ({"max_completed_length": 2**64}, ConfigurationError, "'max_completed_length' must not be above"),
    ({"max_failed_length": 2**64}, ConfigurationError, "'max_failed_length' must not be above"),
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


BEYOND: tuple[Any, ...] = (1e300, 10**5000, math.nan, math.inf, -1, True, "5", b"5", [], "")
SURROGATE = "caf\udce9"


@pytest.mark.parametrize("consumer", [Consumer, AsyncConsumer])
@pytest.mark.parametrize(
    "options",
    [
        *({"visibility_timeout_seconds": value} for value in (*BEYOND, 0, None)),
        *({"max_delivery_count": value} for value in (*BEYOND, 0, 1.5)),
        *(
            {name: value}
            for name in ("keep_completed", "keep_failed", "keep_dead_letter_info")
            for value in (*BEYOND, 1.5, None)
        ),
        *({"results_ttl_seconds": value} for value in (*BEYOND, None)),
        *({name: value} for name in ("worker", "limits", "key_limits") for value in (0, "", [], "w", 5)),
        *({name: value} for name in ("name", "key_separator") for value in (None, 5, b"q", " ", SURROGATE)),
    ],
)
def test_a_wrong_argument_of_a_consumer_is_named(consumer: Any, options: dict[str, Any]) -> None:
    client: Any = redis.Redis() if consumer is Consumer else redis.asyncio.Redis()
    with pytest.raises((TypeError, ConfigurationError), match=f"'{next(iter(options))}' must "):
        consumer(client, **{"name": "jobs", **options})


@pytest.mark.parametrize("value", [1.5, True, "5", None, 10**20])
def test_a_wrong_count_to_claim_is_named(value: Any) -> None:
    with pytest.raises((TypeError, ConfigurationError), match="'claim' must "):
        Consumer(redis.Redis(), "jobs").claim(value)


@pytest.mark.parametrize(
    "options",
    [
        *({"outcome": value} for value in ("retried", None, 5)),
        *({"delay_seconds": value} for value in (-1, math.nan, math.inf, "5", None, True, 10**400)),
        *({name: value} for name in ("reason", "detail", "result") for value in (None, b"x", 5)),
        {"failed": "no"},
    ],
)
def test_a_wrong_end_of_a_claim_is_named(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigurationError), match=f"'{next(iter(options))}' must "):
        Settlement(CLAIM, **{"outcome": Outcome.DONE, **options})


def test_the_word_of_an_outcome_is_one() -> None:
    word: Any = "dead"
    assert Settlement(CLAIM, word, 5).outcome is Outcome.DEAD


@pytest.mark.parametrize(
    "options",
    [
        *({"id": value} for value in (None, 5, b"w", "", SURROGATE)),
        *({"slots": value} for value in (None, 1.5, "1", -1, True)),
        *({name: value} for name in ("pod_uid", "config_hash", "instance") for value in (None, 5)),
        {"instance": SURROGATE},
    ],
)
def test_a_wrong_part_of_an_identity_is_named(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigurationError), match=f"'{next(iter(options))}' must "):
        WorkerIdentity(**{"id": "w", "slots": 1, **options})


@pytest.mark.parametrize(
    "options",
    [
        *({"visibility_timeout_seconds": value} for value in (None, "5", True, math.inf, 0)),
        *({"interval_seconds": value} for value in ("5", True, math.nan)),
        *({name: value} for name in ("name", "key_separator") for value in (None, " ", SURROGATE)),
    ],
)
def test_a_wrong_argument_of_leases_is_named(options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ConfigurationError), match=f"'{next(iter(options))}' must "):
        LeaseKeeper(redis.Redis).queue(**{"name": "jobs", "visibility_timeout_seconds": 30, **options})


@FACES
@pytest.mark.parametrize("name", ["name", "key_separator"])
def test_a_text_that_cannot_be_sent_is_named(face: Any, name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"'{name}' must be a text that UTF-8 can say, got 'caf\\udce9'"
    ):
        build(face, **{name: SURROGATE})
    with pytest.raises(ConfigurationError, match="'dead_letter_queue' must be a text"):
        face.RedisGateway(
            redis_client=Duck(),
            message_visibility_timeout_seconds=5,
            max_delivery_count=1,
            dead_letter_queue=SURROGATE,
        )


def test_a_wrong_argument_of_a_call_is_named() -> None:
    queue = sync_face.RedisMessageQueue("q", client=redis.Redis(port=1))
    nothing: Any
    for nothing in (5, 1.5, object(), str):
        for name, call in (
            ("deduplication_keys", partial(queue.enqueue_many, ["x"], deduplication_keys=nothing)),
            ("limit_keys", partial(queue.enqueue_many, ["x"], limit_keys=nothing)),
            ("payloads", partial(queue.enqueue_many, nothing)),
            ("messages", partial(queue.publish_many, nothing)),
            ("message_ids", partial(queue.redrive_letters, nothing)),
            ("message_ids", partial(queue.delete_letters, nothing)),
        ):
            with pytest.raises(TypeError, match=f"'{name}' must be an iterable of "):
                call()
    for name, call in (
        ("deduplication_key", partial(queue.enqueue, "x", deduplication_key=SURROGATE)),
        ("deduplication_key", partial(queue.enqueue_many, ["x"], deduplication_keys=[SURROGATE])),
        ("deduplication_key", partial(queue.publish, "x", deduplication_key=SURROGATE)),
        ("record", partial(queue.redrive, record=SURROGATE)),
        ("count", partial(queue.peek, 2**64)),
        ("start", partial(queue.dead_letters, start=2**64)),
    ):
        with pytest.raises(ConfigurationError, match=f"'{name}' must "):
            call()


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
