"""A queue in which nothing can go wrong: what each answer and each list of the real one must be.

Messages are named by their payloads, which are unique; `17:b` is the 17th, deduplicated as `b`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis_message_queue.consumer import Due, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

Lease = tuple[str, str]  # name, token


@dataclass(frozen=True)
class Granted:
    """What a claim answers: name, token and delivery count of each message, and what it did on the way."""

    claims: tuple[tuple[str, str, int], ...] = ()
    reclaimed: int = 0
    dead_lettered: int = 0
    given_up: tuple[str, ...] = ()

    @property
    def leases(self) -> list[Lease]:
        """The leases alone."""
        return [(name, token) for name, token, _ in self.claims]


@dataclass
class Note:
    """What is remembered of a message that had trouble."""

    failures: int = 0
    lost_leases: int = 0
    kept: bool = False


@dataclass
class QueueModel:
    """Lists are in the order of service (pending, expired, due) or of arrival (the others)."""

    limit: int | None
    keep_failed: int
    keep_info: int
    sharing: bool = True  # while others wait, what is due gets every other place
    pending: list[str] = field(default_factory=list)
    leased: dict[str, str] = field(default_factory=dict)  # name → token
    expired: list[str] = field(default_factory=list)  # of the leased ones
    delayed: list[str] = field(default_factory=list)
    due: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Note] = field(default_factory=dict)
    completed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    info: list[tuple[str, str, int]] = field(default_factory=list)  # name, reason, deliveries
    marked: set[str] = field(default_factory=set)
    holders: dict[str, str] = field(default_factory=dict)  # mark → whose it is, where its marker tells
    keyed: set[str] = field(default_factory=set)  # whose envelope names the key
    published: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # handled and not kept, trimmed, purged, cancelled
    unwanted: set[str] = field(default_factory=set)  # cancelled in hand, and not known to have ended
    endings: dict[str, str] = field(default_factory=dict)  # of those that were cancelled: when
    tokens: int = 0

    # -- publishing --

    def publish(
        self,
        names: list[str],
        *,
        deduplicate: bool = False,
        later: bool = False,
        cap: int | None = None,
        naming_keys: bool = True,
        front: bool = False,
    ) -> list[bool] | None:
        """True or False (a duplicate) for each; None when pending has no room: then nothing happened.

        `naming_keys`: whether envelopes name the keys that messages were deduplicated by, and markers tell
        whose they are.
        """
        fresh, marks, answer = [], set(self.marked), []
        for name in names:
            mark = name.partition(":")[2]
            answer.append(not (deduplicate and mark in marks))
            if answer[-1]:
                fresh.append(name)
                marks |= {mark} if deduplicate else set()
        if cap is not None and fresh and len(self.pending) + len(fresh) > cap:
            return None
        self.marked = marks
        self.published += fresh
        self.keyed |= {*fresh} if deduplicate and naming_keys else set()
        for name in fresh if deduplicate else ():
            self.holders[name.partition(":")[2]] = name if naming_keys else ""
        if front:
            self.pending[:0] = reversed(fresh)
        else:
            (self.delayed if later else self.pending).extend(fresh)
        return answer

    # -- claiming --

    def claim(
        self,
        count: int,
        *,
        promoting: int,
        counting: bool = True,
        telling: bool = True,
        in_hand: int | None = None,
        due: Due = Due.FIRST,
        heeding: bool = True,
    ) -> Granted:
        """Grant up to `count` leases: first what expired, then what is due, then the rest.

        `promoting` bounds how many due messages become pending; `counting` says whether deliveries are
        counted, `telling` whether dead letters are explained, and trouble noted, `heeding` whether what is
        cancelled is left out.
        """
        if count <= 0:
            return Granted()
        promoting = self._promoted(count, promoting, due)
        promoted, self.due = self.due[:promoting], self.due[promoting:]
        reclaimed, self.expired = self.expired, []
        for name in reclaimed:
            del self.leased[name]
            if telling:
                self._lost(name)
        self.pending = reclaimed + promoted + self.pending
        claims: list[tuple[str, str, int]] = []
        dead: list[str] = []
        dropped: list[str] = []
        before = ""
        while self.pending and len(claims) < count:
            if heeding and self.pending[0] in self.unwanted:
                dropped.append(name := self.pending.pop(0))
                self._cancelled(
                    name, "before it came again" if self.counts.get(name) else "before it was started"
                )
                continue
            care = "" if in_hand is None else self._care(self.pending[0])
            if claims and care != before:
                break
            before = care
            name = self.pending.pop(0)
            deliveries = self.counts.get(name, 0) + counting
            if counting and self.limit is not None and deliveries > self.limit:
                self.dead.append(name)
                self.counts.pop(name, None)
                self.notes.pop(name, None)
                if telling:
                    self._tell(name, "MaxDeliveries", deliveries - 1)
                dead.append(name)
                continue
            if counting:
                self.counts[name] = deliveries
            self.tokens += 1
            self.leased[name] = str(self.tokens)
            claims.append((name, str(self.tokens), deliveries))
            keep = bool(care and in_hand)
            if telling and name in self.notes:
                self.notes[name].kept = keep
            if care == "alone" or keep:
                break
        return Granted(tuple(claims), len(reclaimed), len(dead), (*dead, *dropped))

    def _promoted(self, count: int, most: int, due: Due) -> int:
        if self.pending and self.sharing:
            return (min(most, count) + self.tokens % 2) // 2 if due is Due.FIRST else 0
        return 0 if due is Due.LATER else most

    def _lost(self, name: str) -> None:
        """A lease ended; of what was only kept that tells nothing, and it was not delivered."""
        note = self.notes.setdefault(name, Note())
        if note.kept:
            note.kept = False
            self.counts[name] = max(0, self.counts.get(name, 0) - 1)
        else:
            note.lost_leases += 1

    def _care(self, name: str) -> str:
        """How to claim it beside others: as any, with its like, or alone."""
        lost = self.notes[name].lost_leases if name in self.notes else 0
        last = self.limit is not None and self.counts.get(name, 0) + 1 >= self.limit
        return "" if not lost else "alone" if lost > 1 or last else "like"

    def claim_again(self, leases: list[Lease], count: int) -> Granted:
        """The same claim once more: what is still held of it; what is beyond `count` is released."""
        held = [lease for lease in leases if self.holds(lease)]
        late: list[str] = []
        self.settle([(lease, Outcome.RELEASE) for lease in held[count:]], late=late)
        for lease in held[:count]:
            self.renew(lease)
        claims = tuple((name, token, self.counts.get(name, 0)) for name, token in held[:count])
        return Granted(claims, given_up=tuple(late))

    def holds(self, lease: Lease) -> bool:
        """Whether this lease is the current one of its message."""
        name, token = lease
        return self.leased.get(name) == token

    def renew(self, lease: Lease) -> bool:
        """Extend a lease; False if it was lost."""
        if self.holds(lease):
            self.expired = [other for other in self.expired if other != lease[0]]
        return self.holds(lease)

    # -- settling --

    def settle(
        self,
        ends: list[tuple[Lease, Outcome | None]],
        reason: str = "",
        *,
        freeing: bool = False,
        late: list[str] | None = None,
    ) -> list[bool]:
        """True for each lease that was current; None as the outcome acknowledges and keeps nothing.

        `freeing`: what is given up may be published again. `late` is given by workers: what is cancelled does
        not come again then, and is added to it.
        """
        applied = [self.holds(lease) for lease, _ in ends]
        released = []
        for (lease, outcome), current in zip(ends, applied, strict=True):
            if not current:
                continue
            name = lease[0]
            self.renew(lease)
            del self.leased[name]
            if late is not None and name in self.unwanted:
                self.unwanted.discard(name)
                if outcome in (Outcome.RELEASE, Outcome.RETRY):
                    late.append(name)
                    self._cancelled(name, "while it was handled")
                    continue
                if outcome is Outcome.CANCELLED:
                    self.endings[name] = "while it was handled"
            if outcome is Outcome.RELEASE:
                released.append(name)
                self.counts[name] = max(0, self.counts.get(name, 0) - 1)
            elif outcome is Outcome.RETRY:
                self.delayed.append(name)
                note = self.notes.setdefault(name, Note())
                note.failures, note.kept = note.failures + 1, False  # it was handled after all
            else:
                self._end(name, outcome, reason)
                if freeing and outcome in (Outcome.DEAD, Outcome.FAILED, Outcome.CANCELLED):
                    self.free([name])
        self.pending = released + self.pending
        return applied

    def free(self, given_up: Iterable[str]) -> None:
        """Forget by which keys these were published."""
        for name in self.keyed.intersection(given_up):
            mark = name.partition(":")[2]
            if self.holders.get(mark) in (name, ""):
                self.marked.discard(mark)

    def _end(self, name: str, outcome: Outcome | None, reason: str) -> None:
        deliveries = self.counts.pop(name, 0)
        self.notes.pop(name, None)
        if outcome is Outcome.DONE:
            self.completed.append(name)
        elif outcome is Outcome.DEAD:
            self.dead.append(name)
            self._tell(name, reason, deliveries)
        elif outcome is Outcome.FAILED:
            self.failed.append(name)
            self.gone += self.failed[: -self.keep_failed]
            self.failed = self.failed[-self.keep_failed :]
        else:
            self.gone.append(name)

    def _tell(self, name: str, reason: str, deliveries: int) -> None:
        self.info = [*self.info, (name, reason, deliveries)][-self.keep_info :]

    # -- cancelling --

    def cancel(self, name: str) -> str:
        """What waits is out, who has it in hand is told."""
        if name in self.leased:
            self.unwanted.add(name)
            return "requested"
        for place in (self.pending, self.delayed, self.due):
            if name in place:
                place.remove(name)
        self._cancelled(name, "before it came again" if self.counts.get(name) else "before it was started")
        self.free([name])
        return "removed"

    def _cancelled(self, name: str, when: str) -> None:
        self.unwanted.discard(name)
        self.counts.pop(name, None)
        self.notes.pop(name, None)
        self.gone.append(name)
        self.endings[name] = when

    # -- repairing --

    def redrive(self, most: int | None) -> int:
        """Oldest dead letters first, behind what is pending."""
        moved = self.dead[:most]
        newest_first = self.info[::-1]
        for from_head, name in zip(range(len(self.dead) - 1, -1, -1), moved, strict=False):
            if from_head < len(newest_first) and newest_first[from_head][0] == name:
                self.info.remove(newest_first[from_head])
        self.dead = self.dead[len(moved) :]
        self.keyed -= {*moved}
        self.pending += moved
        if moved and not self.dead:
            self.info = []
        return len(moved)

    def purge(self, target: str) -> int:
        """Empty one place; how many there were."""
        everything = {
            "pending": self.pending,
            "delayed": self.due + self.delayed,
            "completed": self.completed,
            "failed": self.failed,
            "dead_letter": self.dead,
        }
        victims = list(everything[target])
        if target == "dead_letter":
            self.info = []
        self.gone += victims
        for place in (self.pending, self.due, self.delayed, self.completed, self.failed, self.dead):
            place[:] = [name for name in place if name not in victims]
        for name in victims:
            self.counts.pop(name, None)
            self.notes.pop(name, None)
        return len(victims)
