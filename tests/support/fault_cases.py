"""Every operation of the library, on a queue whose messages can be counted: to be run while things fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.fault_bench import KEYS, LIMIT
from tests.support.fault_operation import Operation, losing
from tests.support.queues import let_leases_expire, payloads, publish

from redis_message_queue import envelope, holders
from redis_message_queue.consumer import Outcome, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.fault_bench import Bench


# -- publishing --


async def publish_one(bench: Bench) -> Any:
    return await bench.call(bench.queue().publish, "a")


async def publish_capped(bench: Bench) -> Any:
    return await bench.call(bench.queue(bench.gateway(max_pending_length=5)).publish, "a")


async def publish_later(bench: Bench) -> Any:
    return await bench.call(bench.queue().publish, "a", delay_seconds=60)


async def publish_many(bench: Bench) -> Any:
    return await bench.call(bench.queue().publish_many, ["a", "b", "c"])


async def publish_many_alike(bench: Bench) -> Any:
    queue = bench.queue(deduplication=False)
    return await bench.call(queue.publish_many, ["a", "a", "b"])


async def publish_many_later(bench: Bench) -> Any:
    queue = bench.queue(deduplication=False)
    return await bench.call(queue.publish_many, ["a", "b"], delay_seconds=60)


async def publish_plain(bench: Bench) -> Any:
    return await bench.call(bench.queue(deduplication=False).publish, "a")


async def publish_plain_capped(bench: Bench) -> Any:
    queue = bench.queue(bench.gateway(max_pending_length=5), deduplication=False)
    return await bench.call(queue.publish, "a")


# -- one message at a time --


async def a_mixed_queue(bench: Bench) -> None:
    """An expired lease, a message delivered too often already, a delayed one that is due, a fresh one."""
    publish(bench.direct, KEYS, "expired")
    await bench.call(bench.leased.wait_for_message_and_move, KEYS.pending, KEYS.processing)
    let_leases_expire(bench.direct, KEYS)
    publish(bench.direct, KEYS, "worn")
    bench.direct.hset(KEYS.delivery_counts, bench.direct.lindex(KEYS.pending, 0), LIMIT)
    bench.direct.zadd(KEYS.delayed, {envelope.encode("due"): 1})
    publish(bench.direct, KEYS, "fresh")


MIXED = ("expired", "worn", "due", "fresh")


async def claim(bench: Bench) -> Any:
    """Claim until the one to bury is met as well."""
    for _ in MIXED:
        await bench.call(bench.leased.wait_for_message_and_move, KEYS.pending, KEYS.processing)


async def claim_waiting(bench: Bench) -> Any:
    """Claim as a queue does by default, which waits for a message and repeats a lost claim for a while."""
    gateway = bench.gateway(message_wait_interval_seconds=5, message_visibility_timeout_seconds=30)
    claimed = await bench.call(gateway.wait_for_message_and_move, KEYS.pending, KEYS.processing)
    return claimed and claimed.lease_token


async def hold(bench: Bench) -> None:
    publish(bench.direct, KEYS, "a", "b")
    bench.held = [
        await bench.call(bench.leased.wait_for_message_and_move, KEYS.pending, KEYS.processing)
        for _ in range(2)
    ]


async def remove(bench: Bench) -> Any:
    message = bench.held[0]
    return await bench.call(
        bench.leased.remove_message, KEYS.processing, message.stored_message, lease_token=message.lease_token
    )


async def move(bench: Bench) -> Any:
    message = bench.held[0]
    return await bench.call(
        bench.leased.move_message,
        KEYS.processing,
        KEYS.completed,
        message.stored_message,
        lease_token=message.lease_token,
    )


async def renew(bench: Bench) -> Any:
    message = bench.held[0]
    return await bench.call(
        bench.leased.renew_message_lease, KEYS.processing, message.stored_message, message.lease_token
    )


# -- without leases --


async def two_pending(bench: Bench) -> None:
    publish(bench.direct, KEYS, "a", "b")


async def claim_plain(bench: Bench) -> Any:
    stored = await bench.call(bench.gateway().wait_for_message_and_move, KEYS.pending, KEYS.processing)
    bench.held.append(stored)
    return stored


async def claim_plain_and_move(bench: Bench) -> Any:
    while not bench.held:
        await claim_plain(bench)
    return await bench.call(bench.gateway().move_message, KEYS.processing, KEYS.completed, bench.held[0])


async def hold_plain(bench: Bench) -> None:
    await two_pending(bench)
    await claim_plain(bench)


async def move_plain(bench: Bench) -> Any:
    return await bench.call(bench.gateway().move_message, KEYS.processing, KEYS.completed, bench.held[0])


async def remove_plain(bench: Bench) -> Any:
    return await bench.call(bench.gateway().remove_message, KEYS.processing, bench.held[0])


async def lose_a_plain_claim(bench: Bench) -> None:
    await two_pending(bench)
    await losing(bench, claim_plain)


async def drain_plain(bench: Bench) -> Any:
    if not bench.held:
        bench.held.append(bench.queue(bench.gateway()))
    while not await bench.call(bench.held[0].drain, 5):
        continue


# -- the consumer --


async def claim_batch(bench: Bench) -> Any:
    claims = (await bench.call(bench.consumer.claim, 3)).claims
    return [(message.payload.decode(), message.delivery_count) for message in claims]


async def hold_batch(bench: Bench) -> None:
    publish(bench.direct, KEYS, *Outcome, "x", "y", "z")
    bench.held = list((await bench.call(bench.consumer.claim, len(Outcome))).claims)


async def settle_batch(bench: Bench) -> Any:
    ends = [
        Settlement(message, outcome, delay_seconds=60)
        for message, outcome in zip(bench.held, Outcome, strict=True)
    ]
    return (await bench.call(bench.consumer.settle, ends, claim=2)).applied


async def hold_one_worked(bench: Bench) -> None:
    await hold_worked(bench, ["a", "x", "y"], 1)


async def hold_several(bench: Bench) -> None:
    await hold_worked(bench, ["a", "b", "c", "x", "y"], 3)


async def hold_large(bench: Bench) -> None:
    await hold_worked(bench, ["a" * 2000, "b" * 2000, *LARGE], 2)


async def hold_worked(bench: Bench, names: Sequence[str], count: int) -> None:
    publish(bench.direct, KEYS, *names)
    await bench.call(bench.forgetful.report, busy=0, oldest_start_age_seconds=None, draining=False)
    bench.held = list((await bench.call(bench.forgetful.claim, count)).claims)


async def settle_and_claim(bench: Bench) -> Any:
    """The usual call of a worker."""
    ends = [Settlement(message, Outcome.DONE) for message in bench.held]
    return (await bench.call(bench.forgetful.settle, ends, claim=len(ends))).applied


async def wait(bench: Bench) -> Any:
    return await bench.call(bench.consumer.wait, 5)


async def renew_batch(bench: Bench) -> Any:
    return await bench.call(bench.consumer.renew, bench.held)


async def lose_a_batch(bench: Bench) -> None:
    publish(bench.direct, KEYS, "x", "y", "z")
    await losing(bench, claim_batch)


async def recover(bench: Bench) -> Any:
    return await bench.call(bench.consumer.recover)


async def expire(bench: Bench) -> Any:
    return await bench.call(bench.face.of(holders, "expire_leases"), bench.client, KEYS, "i")


async def report(bench: Bench) -> Any:
    return await bench.call(bench.consumer.report, busy=1, oldest_start_age_seconds=2.5, draining=False)


# -- looking and repairing --


async def dead_letters(bench: Bench) -> None:
    bench.direct.rpush(KEYS.dead_letter, "y", "x", "x")


async def redrive(bench: Bench) -> Any:
    return await bench.call(bench.queue().redrive_dead_letters)


async def redrive_one(bench: Bench) -> Any:
    return await bench.call(bench.queue().redrive_dead_letters, 1)


async def failed_letters(bench: Bench) -> None:
    bench.direct.rpush(KEYS.failed, "y", "x", "x", "z", "x")


def no_z(batch: Sequence[bytes]) -> list[bool]:
    return [payload != b"z" for payload in batch]


async def redrive_matching(bench: Bench) -> Any:
    redrive = bench.queue().redrive
    await bench.call(redrive, "failed", match=bench.face.callback(no_z), max_messages=3, record="mine")
    return payloads(bench.direct, KEYS.pending), payloads(bench.direct, KEYS.failed)


async def purge(bench: Bench) -> Any:
    return await bench.call(bench.queue().purge, target="pending")


async def hold_without_deadlines(bench: Bench) -> None:
    await hold(bench)
    bench.direct.delete(KEYS.lease_deadlines)


async def repair(bench: Bench) -> Any:
    return (await bench.call(bench.queue().repair)).looked_at


async def look(bench: Bench) -> Any:
    await bench.call(bench.queue().peek, 2)
    return await bench.call(bench.queue().stats)


BATCH = (*(str(outcome) for outcome in Outcome), "x", "y", "z")

LARGE = ("x" * 2000, "y" * 2000)
OPERATIONS = {
    "publish": Operation(publish_one, new=("a",), reply=True, connects=True),
    "publish with a cap": Operation(publish_capped, new=("a",), reply=True),
    "publish later": Operation(publish_later, new=("a",), reply=True),
    "publish many": Operation(publish_many, new=("a", "b", "c"), reply=[True] * 3),
    "publish many alike": Operation(publish_many_alike, new=("a", "a", "b"), reply=[True] * 3),
    "publish many later": Operation(publish_many_later, new=("a", "b"), reply=[True] * 2),
    "publish without deduplication": Operation(publish_plain, new=("a",), repeatable=False),
    "publish without deduplication with a cap": Operation(publish_plain_capped, new=("a",), repeatable=False),
    "claim": Operation(claim, a_mixed_queue, kept=MIXED),
    "claim, waiting": Operation(claim_waiting, two_pending, kept=("a", "b"), reply="1"),
    "remove": Operation(remove, hold, kept=("b",), gone=("a",), reply=True),
    "move": Operation(move, hold, kept=("a", "b"), reply=True),
    "renew": Operation(renew, hold, kept=("a", "b"), reply=True),
    "claim and move without lease": Operation(
        claim_plain_and_move, two_pending, kept=("a", "b"), reply=True, leases=False
    ),
    "move without lease": Operation(move_plain, hold_plain, kept=("a", "b"), reply=True, leases=False),
    "remove without lease": Operation(
        remove_plain, hold_plain, kept=("b",), gone=("a",), reply=True, leases=False
    ),
    "drain without lease": Operation(drain_plain, lose_a_plain_claim, kept=("a", "b"), leases=False),
    "claim a batch": Operation(
        claim_batch, a_mixed_queue, kept=MIXED, reply=[("expired", 2), ("due", 1), ("fresh", 1)]
    ),
    "settle a batch and claim": Operation(
        settle_batch,
        hold_batch,
        kept=[one for one in BATCH if one != Outcome.CANCELLED],
        gone=[Outcome.CANCELLED],
        reply=(True,) * len(Outcome),
    ),
    "settle one and claim": Operation(
        settle_and_claim, hold_one_worked, kept=("x", "y"), gone=("a",), reply=(True,)
    ),
    "settle several and claim": Operation(
        settle_and_claim, hold_several, kept=("x", "y"), gone=("a", "b", "c"), reply=(True,) * 3
    ),
    "settle large ones and claim": Operation(settle_and_claim, hold_large, kept=LARGE, reply=(True,) * 2),
    "wait": Operation(wait, two_pending, kept=("a", "b"), reply=True),
    "renew a batch": Operation(renew_batch, hold_batch, kept=BATCH, reply=(True,) * len(Outcome)),
    "recover": Operation(recover, lose_a_batch, kept=("x", "y", "z")),
    "expire": Operation(expire, hold_batch, kept=BATCH),
    "report": Operation(report, connects=True),
    "redrive": Operation(redrive, dead_letters, kept=("x", "x", "y"), puts_in=True),
    "redrive one": Operation(redrive_one, dead_letters, kept=("x", "x", "y"), puts_in=True),
    "redrive matching": Operation(
        redrive_matching,
        failed_letters,
        kept=("x", "x", "x", "y", "z"),
        reply=(["x", "x", "x"], ["z", "y"]),
        puts_in=True,
    ),
    "purge": Operation(purge, two_pending, gone=("a", "b")),
    "repair": Operation(repair, hold_without_deadlines, kept=("a", "b"), reply=2, leases=False),
    "look": Operation(look, two_pending, kept=("a", "b")),
}
