"""Operations with priorities, limit keys, results and cancelling, as those of `fault_cases`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.fault_bench import KEYS
from tests.support.fault_operation import Operation, losing
from tests.support.queues import let_delayed_be_due, let_leases_expire, publish

from redis_message_queue import RedisMessageQueue, holders, results
from redis_message_queue.consumer import Outcome, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.fault_bench import Bench


def put_in(bench: Bench, *names: str, priority: Any = "normal", limit_key: str | None = None) -> None:
    """Into the lane of this priority and key; the first also into pending, where nobody else waits."""
    queue = RedisMessageQueue(KEYS.name, client=bench.direct)
    queue.enqueue_many(names, priority=priority, limit_key=limit_key)


def all_kinds(bench: Bench) -> None:
    """Each priority, two tenants, and what has neither; the first of them stands in pending itself."""
    put_in(bench, "a1", "a2", "a3", limit_key="a")
    put_in(bench, "b1", limit_key="b")
    put_in(bench, "low", priority="low")
    put_in(bench, "high", priority="high")
    publish(bench.direct, KEYS, "plain")


ALL_KINDS = ("a1", "a2", "a3", "b1", "low", "high", "plain")


# -- enqueuing --


async def enqueue_high(bench: Bench) -> Any:
    return bool(await bench.call(bench.queue().enqueue, "high", priority="high", deduplication_key="k"))


async def enqueue_at_front(bench: Bench) -> Any:
    return bool(await bench.call(bench.queue().enqueue, "first", limit_key="a", at_front=True))


async def enqueue_many(bench: Bench) -> Any:
    keys = ["a", "b", None, "a"]
    receipts = await bench.call(bench.queue().enqueue_many, ["a1", "b1", "plain", "a2"], limit_keys=keys)
    return [receipt.enqueued for receipt in receipts]


# -- claiming and settling --


async def lanes(bench: Bench) -> None:
    all_kinds(bench)


async def lanes_with_others_lost_and_due(bench: Bench) -> None:
    """A tenant's message whose worker is gone, one that is due, and all that waits."""
    put_in(bench, "lost", limit_key="a")
    await bench.call(bench.limited.claim, 1)
    let_leases_expire(bench.direct, KEYS)
    queue = RedisMessageQueue(KEYS.name, client=bench.direct)
    queue.enqueue("due", limit_key="b", delay_seconds=60)
    let_delayed_be_due(bench.direct, KEYS)
    all_kinds(bench)


async def claim_limited(bench: Bench) -> Any:
    """Its tokens rise with each claim that is not the same one once more."""
    claims = (await bench.call(bench.limited.claim, 4)).claims
    return [claim.token for claim in claims]


async def claim_one(bench: Bench) -> Any:
    return await bench.call(bench.leased.wait_for_message_and_move, KEYS.pending, KEYS.processing)


async def claim_plain_and_move(bench: Bench) -> Any:
    while not bench.held:
        gateway = bench.gateway()
        bench.held.append(await bench.call(gateway.wait_for_message_and_move, KEYS.pending, KEYS.processing))
    return await bench.call(bench.gateway().move_message, KEYS.processing, KEYS.completed, bench.held[0])


async def hold_two(bench: Bench) -> None:
    all_kinds(bench)
    await bench.call(bench.limited.report, busy=0, oldest_start_age_seconds=None, draining=False)
    bench.held = list((await bench.call(bench.limited.claim, 2)).claims)


async def settle_two(bench: Bench) -> Any:
    return await settle(bench, [Settlement(claim, Outcome.DONE) for claim in bench.held])


async def hold_every_outcome(bench: Bench) -> None:
    for place, outcome in enumerate(Outcome):
        put_in(bench, outcome, limit_key=f"k{place}")
    put_in(bench, "next", limit_key="k0")
    bench.held = list((await bench.call(bench.limited.claim, len(Outcome))).claims)


async def settle_every_outcome(bench: Bench) -> Any:
    ends = [Settlement(claim, Outcome(claim.payload.decode()), delay_seconds=60) for claim in bench.held]
    return await settle(bench, ends)


async def settle(bench: Bench, ends: Sequence[Settlement]) -> Any:
    return (await bench.call(bench.limited.settle, ends, claim=2)).applied


async def settle_with_results(bench: Bench) -> Any:
    ends = [Settlement(claim, Outcome.DONE, result=results.completed(7)) for claim in bench.held]
    applied = (await bench.call(bench.telling.settle, ends, claim=2)).applied
    return applied, [bench.direct.llen(KEYS.result(claim.id)) for claim in bench.held]


async def hold_telling(bench: Bench) -> None:
    publish(bench.direct, KEYS, "a", "b", "x", "y")
    bench.held = list((await bench.call(bench.telling.claim, 2)).claims)


# -- what was in hand --


async def lose_a_claim(bench: Bench) -> None:
    all_kinds(bench)
    await losing(bench, claim_limited)


async def recover(bench: Bench) -> Any:
    return await bench.call(bench.limited.recover)


async def expire(bench: Bench) -> Any:
    return await bench.call(bench.face.of(holders, "expire_leases"), bench.client, KEYS, "l")


# -- cancelling, redriving, purging --


async def waiting_by_id(bench: Bench) -> None:
    queue = RedisMessageQueue(KEYS.name, client=bench.direct)
    queue.enqueue("first", limit_key="a")
    for name in ("stays", "goes"):
        queue.enqueue(name, limit_key="a", message_id=name)


async def cancel(bench: Bench) -> Any:
    return await bench.call(bench.queue().cancel, "goes")


async def cancelled_in_vain(bench: Bench) -> None:
    """A cancel that nobody finished: its mark is there, and the message too."""
    await waiting_by_id(bench)
    bench.direct.hset(KEYS.cancelled, "goes", f"1 {KEYS.result('goes')}")


async def dead_with_lanes(bench: Bench) -> None:
    put_in(bench, "a1", "a2", limit_key="a")
    put_in(bench, "high", priority="high")
    claims = (await bench.call(bench.limited.claim, 3)).claims
    ends = [Settlement(claim, Outcome.DEAD, reason="Rejected") for claim in claims]
    await bench.call(bench.limited.settle, ends)


async def redrive(bench: Bench) -> Any:
    return await bench.call(bench.queue().redrive_dead_letters)


async def purge(bench: Bench) -> Any:
    return await bench.call(bench.queue().purge, target="pending")


async def look(bench: Bench) -> Any:
    await bench.call(bench.queue().peek, 2)
    await bench.call(bench.queue().find, "nowhere")
    return await bench.call(bench.queue().stats)


LANE_OPERATIONS = {
    "enqueue with a priority": Operation(enqueue_high, lanes, kept=ALL_KINDS, new=("high",), reply=True),
    "enqueue at the front of a lane": Operation(
        enqueue_at_front, lanes, kept=ALL_KINDS, new=("first",), reply=True
    ),
    "enqueue many with keys": Operation(enqueue_many, new=("a1", "b1", "plain", "a2"), reply=[True] * 4),
    "claim within limits": Operation(
        claim_limited,
        lanes_with_others_lost_and_due,
        kept=("lost", "due", *ALL_KINDS),
        reply=["2", "3", "4", "5"],
    ),
    "claim one from lanes": Operation(
        claim_one, lanes_with_others_lost_and_due, kept=("lost", "due", *ALL_KINDS)
    ),
    "claim one of those in lanes": Operation(claim_one, lanes, kept=ALL_KINDS),
    "claim from lanes without lease": Operation(
        claim_plain_and_move, lanes, kept=ALL_KINDS, reply=True, leases=False
    ),
    "settle and claim within limits": Operation(settle_two, hold_two, kept=ALL_KINDS, reply=(True,) * 2),
    "settle all kinds of ends within limits": Operation(
        settle_every_outcome,
        hold_every_outcome,
        kept=[*(one for one in map(str, Outcome) if one != Outcome.CANCELLED), "next"],
        gone=[Outcome.CANCELLED],
        reply=(True,) * len(Outcome),
    ),
    "settle with results": Operation(
        settle_with_results, hold_telling, kept=("x", "y"), gone=("a", "b"), reply=((True, True), [1, 1])
    ),
    "recover within limits": Operation(recover, lose_a_claim, kept=ALL_KINDS),
    "expire within limits": Operation(expire, hold_two, kept=ALL_KINDS),
    "cancel": Operation(cancel, waiting_by_id, kept=("first", "stays"), gone=("goes",)),
    "claim what is cancelled": Operation(
        claim_limited, cancelled_in_vain, kept=("first", "stays"), gone=("goes",)
    ),
    "redrive into lanes": Operation(redrive, dead_with_lanes, kept=("a1", "a2", "high"), puts_in=True),
    "purge lanes": Operation(purge, lanes, gone=ALL_KINDS),
    "look at lanes": Operation(look, lanes, kept=ALL_KINDS),
}
