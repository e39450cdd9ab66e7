"""Large messages: no request carries more than 512 KiB, unless one message is larger; no reply does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.queues import payloads

from redis_message_queue import RedisMessageQueue, RedriveProgress
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.faces import Face
    from tests.support.servers import Server

pytestmark = pytest.mark.one_node

KEYS = QueueKeys("{jobs}")
MOST = 524_288 + 32_768  # with the names of keys, ids and the protocol's own
BIG = 100_000


def weight(value: Any) -> int:
    """Bytes of a request or reply."""
    if isinstance(value, (list, tuple)):
        return sum(map(weight, value))
    return len(value) if isinstance(value, bytes) else len(str(value).encode())


class Weighing(redis.Redis):
    """Notes what each script call sends and is answered; a call in `losing` loses its reply."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.sent: list[int] = []
        self.answered: list[int] = []
        self.losing: set[int] = set()
        super().__init__(*args, **options)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        reply = super().execute_command(*args, **options)
        if args[0] == "EVALSHA":
            self.sent.append(weight(args))
            self.answered.append(weight(reply))
            if len(self.sent) in self.losing:
                raise redis.ConnectionError("the reply was lost")
        return reply


@pytest.fixture
def scales(server: Server) -> Iterator[Weighing]:
    with Weighing.from_url(server.url) as client:
        RedisMessageQueue("{warm}", client=client).publish_many(["loads", "the scripts"])
        yield client


def text(number: int, size: int = BIG) -> str:
    return f"{number:05} {'x' * (size - 6)}"


@pytest.mark.parametrize("options", [{}, {"deduplication": False}])
@pytest.mark.parametrize("delay", [None, 60])
def test_publish_many(
    scales: Weighing, redis_client: redis.Redis, options: dict[str, Any], delay: float | None
) -> None:
    queue = RedisMessageQueue("{jobs}", client=scales, **options)
    sizes = [BIG] * 12 + [3 * MOST] + [BIG] * 12 + [10] * 600
    texts = [text(number, size) for number, size in enumerate(sizes)]
    scales.sent.clear()
    assert queue.publish_many(texts, delay_seconds=delay) == [True] * len(texts)
    assert [size > MOST for size in scales.sent].count(True) == 1
    assert len(scales.sent) <= 10
    if delay is None:
        assert payloads(redis_client, KEYS.pending) == texts
    else:
        assert redis_client.zcard(KEYS.delayed) == len(texts)


def test_large_deduplication_keys_count(scales: Weighing) -> None:
    queue = RedisMessageQueue("{jobs}", client=scales, get_deduplication_key=lambda message: message * 50_000)
    scales.sent.clear()
    assert queue.publish_many([chr(97 + number) for number in range(20)]) == [True] * 20
    assert max(scales.sent) < MOST


def test_small_messages_still_go_together(scales: Weighing) -> None:
    queue = RedisMessageQueue("{jobs}", client=scales)
    scales.sent.clear()
    queue.publish_many([str(number) for number in range(1000)])
    assert len(scales.sent) == 2


def claimed(consumer: Consumer, queue: RedisMessageQueue, number: int) -> list[Any]:
    queue.publish_many([text(one) for one in range(number)])
    return [*consumer.claim(number).claims]


def test_settling_and_claiming(scales: Weighing, redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    consumer = Consumer(scales, "{jobs}", keep_completed=100)
    claims = claimed(consumer, queue, 20)
    queue.publish("next")
    consumer.renew(claims[:1])
    redis_client.hset(KEYS.lease_tokens, claims[7].stored, "somebody else's")
    scales.sent.clear()
    reply = consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims], claim=2)
    assert max(scales.sent) < MOST
    assert reply.applied == tuple(number != 7 for number in range(20))
    assert [claim.payload for claim in reply.claimed.claims] == [b"next"]
    kept = [payload.decode() for payload in redis_client.lrange(KEYS.completed, 0, -1)]
    assert kept == [text(number) for number in range(20) if number != 7][::-1]


def test_what_is_released_comes_again_in_its_order(scales: Weighing, redis_client: redis.Redis) -> None:
    consumer = Consumer(scales, "{jobs}")
    claims = claimed(consumer, RedisMessageQueue("{jobs}", client=redis_client), 20)
    ends = [
        Settlement(claim, Outcome.RELEASE if number % 4 else Outcome.DONE)
        for number, claim in enumerate(claims)
    ]
    scales.sent.clear()
    assert consumer.settle(ends).applied == (True,) * 20
    assert len(scales.sent) > 2
    assert payloads(redis_client, KEYS.pending) == [text(number) for number in range(20) if number % 4]


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_part_whose_reply_was_lost_counts_once(
    scales: Weighing, redis_client: redis.Redis, lost: int
) -> None:
    queue, consumer = RedisMessageQueue("{jobs}", client=redis_client), Consumer(scales, "{jobs}")
    claims = claimed(consumer, queue, 20)
    queue.publish("next")
    scales.sent.clear()
    scales.losing = {lost}
    ends = [Settlement(claim, Outcome.DONE) for claim in claims]
    with pytest.raises(redis.ConnectionError):
        consumer.settle(ends, claim=1)
    reply = consumer.settle(ends, claim=1)
    assert reply.applied == (True,) * 20
    assert [claim.payload for claim in reply.claimed.claims] == [b"next"]
    assert redis_client.llen(KEYS.processing) == 1


def test_renewing(scales: Weighing, redis_client: redis.Redis) -> None:
    consumer = Consumer(scales, "{jobs}")
    claims = claimed(consumer, RedisMessageQueue("{jobs}", client=redis_client), 20)
    scales.sent.clear()
    redis_client.hdel(KEYS.lease_tokens, claims[3].stored)
    assert consumer.renew(claims) == tuple(number != 3 for number in range(20))
    assert max(scales.sent) < MOST
    assert consumer.renew([]) == ()


async def test_both_faces(face: Face, redis_client: redis.Redis) -> None:
    queue, consumer = face.queue(), face.consumer("{jobs}")
    texts = [text(number) for number in range(20)]
    assert await face.call(queue.publish_many, texts) == [True] * 20
    claims = (await face.call(consumer.claim, 20)).claims
    assert await face.call(consumer.renew, claims) == (True,) * 20
    done = [Settlement(claim, Outcome.DONE) for claim in claims]
    assert (await face.call(consumer.settle, done, claim=1)).applied == (True,) * 20
    assert redis_client.llen(KEYS.processing) == 0


SIZES = {
    "all are large": [4 * MOST] * 4,
    "large behind small": [50] * 30 + [4 * MOST] + [50] * 30 + [BIG] * 20 + [50] * 130,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("matching", [False, True])
def test_redriving(scales: Weighing, redis_client: redis.Redis, sizes: list[int], matching: bool) -> None:
    texts = [text(number, size) for number, size in enumerate(sizes)]
    for one in texts:
        redis_client.lpush(KEYS.dead_letter, one)
    looked: list[int] = []

    def match(batch: Sequence[bytes]) -> list[bool]:
        looked.append(weight(list(batch)))
        return [True] * len(batch)

    scales.sent.clear()
    scales.answered.clear()
    queue = RedisMessageQueue("{jobs}", client=scales)
    done = queue.redrive(match=match if matching else None)
    assert done == RedriveProgress(len(texts), 0, 0)
    assert payloads(redis_client, KEYS.pending) == texts
    assert redis_client.exists(KEYS.dead_letter) == 0
    for told in (scales.sent, scales.answered, looked):
        large = [size for size in told if size > MOST]
        assert len(large) <= sizes.count(4 * MOST)
        assert max(large) < 5 * MOST if large else True


def test_letters_that_grow_on_their_way(scales: Weighing, redis_client: redis.Redis) -> None:
    """Bytes that are no text travel as hex, and what is not ASCII as escapes."""
    letters = [b"\xff" * 50_000, "ü".encode() * 30_000] * 10
    redis_client.lpush(KEYS.dead_letter, *letters)
    scales.sent.clear()
    RedisMessageQueue("{jobs}", client=scales).redrive()
    assert max(scales.sent) < MOST
    queue = RedisMessageQueue("{jobs}", client=redis_client)
    for letter in letters:
        with queue.process_message() as payload:
            assert payload == letter


def test_a_dry_run_without_a_match_reads_no_letter(scales: Weighing, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *[text(number) for number in range(10)])
    scales.answered.clear()
    queue = RedisMessageQueue("{jobs}", client=scales)
    assert queue.redrive(dry_run=True) == RedriveProgress(10, 0, 0)
    assert queue.redrive(dry_run=True, max_messages=4) == RedriveProgress(4, 0, 6)
    assert sum(scales.answered) < BIG
