"""Operations on one message whose scripts find more than usual: what is due, a peer's record, a long list."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.fault_bench import KEYS
from tests.support.fault_cases import claim_plain, claim_plain_and_move, move, two_pending
from tests.support.fault_operation import Operation
from tests.support.queues import claim_as_v7, publish, publish_later

from redis_message_queue import envelope
from redis_message_queue.messages import ClaimedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fault_bench import Bench

MANY = [str(number) for number in range(70)]  # more than are searched from whichever end


@contextmanager
def looking_for_what_is_due(bench: Bench) -> Iterator[None]:
    """A gateway is told by its queue where the delayed messages are."""
    face = bench.face.package._abstract_redis_gateway
    outer = face.event_sink.set(face.EventSink(delayed=KEYS.delayed))
    try:
        yield
    finally:
        face.event_sink.reset(outer)


async def one_due(bench: Bench) -> None:
    await two_pending(bench)
    bench.direct.zadd(KEYS.delayed, {envelope.encode("due"): 1})


async def one_due_later(bench: Bench) -> None:
    await two_pending(bench)
    publish_later(bench.direct, KEYS, 600, envelope.encode("later"))


async def claim(bench: Bench) -> Any:
    with looking_for_what_is_due(bench):
        claimed = await bench.call(bench.leased.wait_for_message_and_move, KEYS.pending, KEYS.processing)
    return claimed and claimed.lease_token


async def claim_without_lease_and_move(bench: Bench) -> Any:
    with looking_for_what_is_due(bench):
        while not bench.held:
            await claim_plain(bench)
    return await claim_plain_and_move(bench)


async def hold_as_v7(bench: Bench) -> None:
    await two_pending(bench)
    claimed = claim_as_v7(bench.direct, KEYS, "peer")
    assert claimed.stored
    assert claimed.token
    bench.held = [ClaimedMessage(claimed.stored, claimed.token)]


async def hold_many(bench: Bench) -> None:
    publish(bench.direct, KEYS, *MANY)
    claims = (await bench.call(bench.consumer.claim, len(MANY))).claims
    bench.held = [ClaimedMessage(claims[0].stored, claims[0].token)]


CLAIM_OPERATIONS = {
    "claim one that is due": Operation(claim, one_due, kept=("a", "b", "due")),
    "claim one beside a delayed one": Operation(claim, one_due_later, kept=("a", "b", "later"), reply="1"),
    "claim one that is due without lease": Operation(
        claim_without_lease_and_move, one_due, kept=("a", "b", "due"), reply=True, leases=False
    ),
    "move what a peer has recorded": Operation(move, hold_as_v7, kept=("a", "b"), reply=True),
    "move out of many": Operation(move, hold_many, kept=tuple(MANY), reply=True),
}
