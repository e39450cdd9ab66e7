"""Random histories in which a process of redis-message-queue 7 or 11 shares the queue with all of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import initialize, precondition, rule
from tests.support.leased_machine import LeasedMachine
from tests.support.queue_machine import FACE, KEEP_FAILED, MARKS, PLACE

from redis_message_queue.consumer import Outcome

if TYPE_CHECKING:
    from tests.support.queue_model import Lease
    from tests.support.v7 import Peer, PeerQueue


@dataclass
class TheirHand:
    """A message within a block of theirs."""

    queue: PeerQueue
    lease: Lease


class MixedMachine(LeasedMachine):
    """The rules of leased work, and those of two queues of theirs, which never promote what is delayed."""

    peer: ClassVar[Peer]

    @initialize()
    def join(self) -> None:
        self.their_hands: list[TheirHand] = []
        self.theirs: dict[tuple[int, bool], PeerQueue] = {}

    def their_queue(self, face: int, deduplicating: bool) -> PeerQueue:
        """Their queue of that face, made at its first use in a history."""
        if (face, deduplicating) not in self.theirs:
            options: dict[str, Any] = {"max_failed_length": KEEP_FAILED}
            if deduplicating:
                options["get_deduplication_key"] = "suffix"
            if self.peer.library == "v7":  # to 11 a length says so, and a key
                options |= {"deduplication": deduplicating}
                options |= {"enable_completed_queue": True, "enable_failed_queue": True}
            else:
                options |= {"max_completed_length": None}
            self.theirs[face, deduplicating] = self.peer.queue(
                "jobs",
                ("sync", "async")[face],
                gateway={
                    **self.gateway_options(),
                    "message_wait_interval_seconds": 0,
                    "retry_initial_delay_seconds": 0.0001,
                    "retry_max_delay_seconds": 0.0001,
                },
                **options,
            )
        return self.theirs[face, deduplicating]

    @rule(face=FACE, deduplicate=st.booleans(), marks=MARKS, lost=st.integers(0, 2))
    def they_publish(self, face: int, deduplicate: bool, marks: list[str], lost: int) -> None:
        names = self.fresh(marks)
        queue = self.their_queue(face, deduplicate)
        if deduplicate and lost:
            queue.lose(lost)
        expected = self.model.publish(names, deduplicate=deduplicate, naming_keys=False)
        assert queue.publish(*names) == expected

    @rule(face=FACE, lost=st.sampled_from([0, 0, 1]))
    def they_enter(self, face: int, lost: int) -> None:
        queue = self.their_queue(face, False)
        if lost:
            queue.lose(lost)
        counting = self.model.limit is not None
        granted = self.model.claim(1, promoting=0, counting=counting, telling=False, heeding=False)
        payload = queue.enter()
        assert [payload] == [name for name, _ in granted.leases] or (payload is None and not granted.claims)
        for lease in granted.leases:
            self.their_hands.append(TheirHand(queue, lease))
            self.remember(lease)

    def out_of_hand(self, place: int) -> tuple[TheirHand, int]:
        """One of theirs, and which it is of those alike: after an expiry a queue may have a message twice."""
        place %= len(self.their_hands)
        one = self.their_hands[place]
        alike = [o for o in self.their_hands[:place] if (o.queue, o.lease[0]) == (one.queue, one.lease[0])]
        return self.their_hands.pop(place), len(alike)

    @precondition(lambda self: self.their_hands)
    @rule(place=PLACE, succeed=st.booleans(), lost=st.integers(0, 2))
    def they_leave(self, place: int, succeed: bool, lost: int) -> None:
        hand, among_alike = self.out_of_hand(place)
        (applied,) = self.model.settle([(hand.lease, Outcome.DONE if succeed else Outcome.FAILED)])
        hand.queue.lose(lost)
        warnings = hand.queue.leave(hand.lease[0], failing=not succeed, place=among_alike)
        assert ["lease expired" in warning for warning in warnings] == [True] * (not applied)

    @precondition(lambda self: self.their_hands)
    @rule(place=PLACE)
    def they_forget(self, place: int) -> None:
        hand, among_alike = self.out_of_hand(place)
        hand.queue.abandon(hand.lease[0], place=among_alike)
