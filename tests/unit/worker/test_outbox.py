"""Results on their way to Redis, decided without one: what is sent together, alone, again."""

from __future__ import annotations

import random

from redis_message_queue.consumer import Claim, Outcome, Settlement
from redisqueue_worker.health import HOPELESS_SECONDS, RefusalPulse, stalled
from redisqueue_worker.outbox import Outbox


def result(number: int, size: int = 10) -> Settlement:
    return Settlement(Claim(f"{number:0{size}}", str(number), None, "", 1), Outcome.DONE)


def outbox_of(*settlements: Settlement, now: float = 0.0) -> Outbox:
    outbox = Outbox()
    for settlement in settlements:
        outbox.add(settlement, now)
    return outbox


def rounds(outbox: Outbox, guilty: set[str], now: float) -> tuple[list[str], int]:
    """Send until nothing is left to be sent now: whose results were taken, and in how many calls."""
    taken, calls = [], 0
    while batch := outbox.next(now):
        calls += 1
        if any(one.claim.token in guilty for one in batch):
            outbox.refuse(batch, now, claiming=not outbox.suspicious)
        else:
            taken += [one.claim.token for one in batch]
            outbox.taken(batch, now)
    return taken, calls


def test_the_guilty_are_found_and_hold_up_nobody() -> None:
    chance = random.Random(7)
    for _ in range(200):
        number = chance.randint(1, 64)
        guilty = {str(one) for one in chance.sample(range(number), chance.randint(0, min(number, 5)))}
        outbox = outbox_of(*map(result, range(number)))
        taken, calls = rounds(outbox, guilty, 1.0)
        assert sorted(taken) == sorted({str(one) for one in range(number)} - guilty)
        assert len(outbox) == len(guilty)
        assert calls <= 3 + 2 * len(guilty) * 7
        assert not outbox.untried(1.0)
        assert not outbox.waiting(1.0)


def test_what_was_sent_is_repeated_as_it_was() -> None:
    outbox = outbox_of(result(1))
    sent = outbox.next(0.0)
    outbox.add(result(2), 0.0)
    for _ in range(9):
        outbox.lost([sent])
        assert outbox.next(1.0) is sent
    outbox.taken(sent, 1.0)
    assert [one.claim.token for one in outbox.next(1.0)] == ["2"]


def test_a_claim_that_went_along_is_suspected_first() -> None:
    outbox = outbox_of(result(1), result(2))
    batch = outbox.next(0.0)
    assert outbox.refuse(batch, 0.0, claiming=True) is None
    assert outbox.next(0.0) == batch
    assert outbox.suspicious


def test_the_refused_are_tried_again_in_growing_pauses_and_at_once_when_something_changed() -> None:
    outbox, now, pauses = outbox_of(result(1)), 0.0, []
    for _ in range(12):
        refused = outbox.refuse(outbox.next(now), now, claiming=False)
        assert refused
        assert outbox.next(now) == []
        pauses.append(refused.next_at - now)
        now = refused.next_at
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60
    outbox.refuse(outbox.next(now), now, claiming=False)
    outbox.hurry()
    assert outbox.untried(now + 1)
    taken, _ = rounds(outbox, set(), now)
    assert taken == ["1"]
    assert (len(outbox), outbox.next_at) == (0, None)


def test_large_results_go_in_several_requests() -> None:
    outbox = outbox_of(*[result(number, 200_000) for number in range(5)])
    sizes = []
    while batch := outbox.next(0.0):
        sizes.append(len(batch))
        outbox.taken(batch, 0.0)
    assert sizes == [2, 2, 1]


def test_a_worker_holds_only_so_much_that_is_refused() -> None:
    outbox = outbox_of(*[result(number, 1 << 24) for number in range(3)])
    rounds(outbox, {"0", "1", "2"}, 0.0)
    assert not outbox.crowded
    outbox.add(result(3, 1 << 24), 0.0)
    rounds(outbox, {"3"}, 0.0)
    assert outbox.crowded


def test_it_is_hopeless_only_when_nothing_was_taken_for_long() -> None:
    now = 100.0
    outbox = outbox_of(result(1), now=now)
    pulses = {"results": RefusalPulse(lambda: outbox.refused_since, lambda: now)}
    now += 2 * HOPELESS_SECONDS
    assert outbox.oldest_seconds(now) == 2 * HOPELESS_SECONDS
    assert stalled(pulses) == [], "Redis is away, or was not asked: nothing was refused"
    rounds(outbox, {"1"}, now)
    now += HOPELESS_SECONDS - 1
    assert stalled(pulses) == []
    outbox.add(result(2), now)
    rounds(outbox, {"1"}, now)
    now += HOPELESS_SECONDS
    assert stalled(pulses) == [], "another one was taken since"
    now += 1
    assert stalled(pulses) == ["results"]
    outbox.hurry()
    rounds(outbox, set(), now)
    assert stalled(pulses) == []
    assert outbox.oldest_seconds(now) == 0


def test_only_what_is_new_may_wait_for_others() -> None:
    assert not Outbox().new, "there is nothing"
    outbox = outbox_of(result(1), result(2))
    assert outbox.is_plain
    batch = outbox.next(0.0)
    outbox.add(result(3), 0.0)
    outbox.lost([batch])
    assert not outbox.is_plain, "what was sent and not answered is repeated at once"
    assert outbox.next(0.0) == batch
    outbox.refuse(batch, 0.0, claiming=True)
    assert not outbox.is_plain, "and so is what was refused"
    outbox.taken(outbox.next(0.0), 0.0)
    assert outbox.is_plain
    assert outbox.new == 1


def test_batches_under_way_are_answered_in_turn_and_repeated_as_they_were() -> None:
    outbox = outbox_of(result(1), result(2))
    first = outbox.next(0.0)
    outbox.add(result(3), 0.0)
    second = outbox.next(0.0)
    outbox.add(result(4), 0.0)
    outbox.lost([first, second])
    assert outbox.untried(1.0)
    assert [outbox.next(1.0), outbox.next(1.0)] == [first, second]
    assert outbox.waiting(1.0)
    assert outbox.new == 1
    outbox.taken(first, 1.0)
    assert outbox.oldest_seconds(1.0) == 1.0, "the second was not answered"
    outbox.lost([second])
    assert [outbox.next(2.0), outbox.next(2.0)] == [second, [result(4)]]


def test_one_of_two_batches_under_way_is_refused() -> None:
    outbox = outbox_of(result(1))
    first = outbox.next(0.0)
    outbox.add(result(2), 0.0)
    second = outbox.next(0.0)
    outbox.refuse(first, 0.0, claiming=False)
    outbox.lost([second])
    assert outbox.next(0.0) == second, "it may have been taken: it goes first, as it was"
    assert not outbox.suspicious
    outbox.taken(second, 0.0)
    assert outbox.next(60.0) == first
    assert outbox.suspicious
