"""Redriving, repairing and emptying a queue: what takes more than one call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue import _bulk
from redis_message_queue._bulk import PlacedLetter, Renewed, Tail
from redis_message_queue._request_size import BYTES_AT_ONCE, parts, size_of
from redis_message_queue.asyncio import _io
from redis_message_queue.envelope import decode, new_id, of_lane_member
from redis_message_queue.exceptions import PayloadTooLargeError
from redis_message_queue.keys import keys_beside, purged
from redis_message_queue.looking import (
    LETTER_BYTES,
    LETTERS_AT_ONCE,
    Cursor,
    Letter,
    Location,
    lane_told,
    letters,
    locate,
    records_of,
)
from redis_message_queue.operations import decodes
from redis_message_queue.redrive import (
    AT_FIRST,
    MOST_AT_ONCE,
    RECORD_SECONDS,
    RedriveOptions,
    RedriveProgress,
    RepairReport,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis_message_queue._clock import Moment
    from redis_message_queue.asyncio._redis_gateway import Sender
    from redis_message_queue.keys import QueueKeys

# Of a call that nobody goes on with by name.
_SHORT_RECORD_MS = 300_000


class Redrive:
    """One redrive from `source` (a key) to pending.

    Letters only ever arrive at the head of their list, so those that were there at the start are the oldest:
    the `total - moved` at its tail. What fails again meanwhile is behind them and is left for another time.
    """

    def __init__(self, sender: Sender, keys: QueueKeys, source: str, chosen: RedriveOptions) -> None:
        self._sender = sender
        self._keys = keys
        self._source = source
        self._options = chosen
        self._record = keys.redrive(chosen.record or new_id())
        self._moved = 0
        self._skipped = 0
        self._total: int | None = None
        self._began: Moment | None = None
        self._next_at = 0.0  # seconds since it began to move letters

    async def run(self) -> RedriveProgress:
        """Go on until all letters were looked at, or enough were moved."""
        if self._options.record is not None and not self._options.dry_run:
            await self._recall()
        if self._options.dry_run and self._options.match is None:
            return await self._count()
        size = AT_FIRST
        while self._room != 0:
            if not await self._batch(size):
                return RedriveProgress(self._moved, self._skipped, 0)
            size = MOST_AT_ONCE
            if self._options.on_progress is not None:  # who may take its time: no letter is in memory now
                await _io.awaited(self._options.on_progress(self.progress))
        return self.progress

    async def _batch(self, size: int) -> bool:
        """Look at letters and move those that are wanted; False when there are none left."""
        letters = await self._look(size)
        if not letters:
            return False
        wanted, looked_at = await self._choose(letters)
        if self._options.dry_run:
            self._moved += len(wanted)
            self._skipped += looked_at - len(wanted)
        elif not wanted or await self._move(wanted):
            self._skipped += looked_at - len(wanted)
        else:
            self._skipped = 0  # places have changed: look again from the oldest
        return True

    @property
    def progress(self) -> RedriveProgress:
        """How far it is."""
        return RedriveProgress(
            self._moved, self._skipped, max(0, (self._total or 0) - self._moved - self._skipped)
        )

    @property
    def _room(self) -> int | None:
        """How many more may be moved; None is any number."""
        most = self._options.max_messages
        return None if most is None else max(0, most - self._moved)

    async def _recall(self) -> None:
        """Go on where an earlier run of this name stopped."""
        moved, total = await self._sender.command("hmget", self._record, ["moved", "total"])
        if total is not None:
            self._moved, self._total = int(moved), int(total)

    async def _count(self) -> RedriveProgress:
        """How many would be moved, where no payload decides about that."""
        page = await self._sender.call_retrying(_bulk.tail(key=self._source, count=0))
        room = self._room
        self._total, self._moved = page.length, page.length if room is None else min(page.length, room)
        if self._options.on_progress is not None:
            await _io.awaited(self._options.on_progress(self.progress))
        return self.progress

    async def _look(self, size: int) -> list[PlacedLetter]:
        """The oldest letters of ours that were not looked at yet, as many as one call may carry."""
        first = self._skipped + (self._moved if self._options.dry_run else 0)
        count = size if self._options.match else min(size, self._most)
        page = await self._read(first, count)
        ours = (self._total or 0) - (0 if self._options.dry_run else self._moved)
        entries = page.entries[: max(0, ours - first)]
        return [PlacedLetter(place, _as_bytes(entry)) for place, entry in enumerate(entries, first)]

    async def _read(self, first: int, count: int) -> Tail:
        """The oldest letters behind `first` others. One that needs a request of its own is told before."""
        make_room, largest = self._options.make_room, self._options.max_payload_bytes
        limit = largest if make_room is None else min(BYTES_AT_ONCE, largest or BYTES_AT_ONCE)
        while True:
            call = _bulk.tail(
                key=self._source,
                count=count,
                passing_over=first,
                most_bytes=BYTES_AT_ONCE,
                largest_bytes=limit,
                raw=True,
            )
            page: Tail = await self._sender.call_retrying(call)
            if self._total is None:
                self._total = page.length
            ours = self._total - (0 if self._options.dry_run else self._moved)
            if page.too_large is None or first >= ours:
                return page
            if make_room is None or (largest is not None and page.too_large > largest):
                raise PayloadTooLargeError(
                    f"the next letter has {page.too_large} bytes, 'max_payload_bytes' is {largest}"
                )
            await _io.awaited(make_room(page.too_large))
            count, limit = 1, page.too_large

    @property
    def _most(self) -> int:
        """How many letters the next call may move."""
        room, most = self._room, self._options.most_at_once
        return most if room is None else min(most, room)

    async def _choose(self, letters: list[PlacedLetter]) -> tuple[list[Renewed], int]:
        """Those to move, as many as one call may, and how many were looked at for it. Empties `letters`."""
        flags: Iterable[bool] = [True] * len(letters)
        if self._options.match is not None:
            flags = await _io.awaited(self._options.match([letter.payload for letter in letters]))
        wanted = deque(letter for letter, flag in zip(letters, flags, strict=True) if flag)
        first, looked_at, chosen = letters[0].place, len(letters), len(wanted)
        letters.clear()  # of a large one few copies are in memory
        renewed = (_bulk.renewed(wanted.popleft(), dry_run=self._options.dry_run) for _ in range(chosen))
        # A letter may be larger in its new form: what counts is what is sent.
        moving = next(parts(renewed, lambda letter: size_of(letter.stored), self._most), [])
        if len(moving) == chosen:
            return moving, looked_at
        return moving, moving[-1].place - first + 1

    async def _move(self, wanted: list[Renewed]) -> bool:
        """Move letters, as soon as the pace allows; False when one of them was not in its place."""
        if self._options.per_second is not None:
            moment = _io.now()
            self._began = self._began or moment
            now = moment.since(self._began)
            if self._next_at > now:
                await _io.sleep(self._next_at - now)
            self._next_at = max(now, self._next_at) + len(wanted) / self._options.per_second
        keep = RECORD_SECONDS * 1000 if self._options.record else self._sender.options.replay_ttl_ms(0)
        call = _bulk.redrive(
            source=self._source,
            pending=self._keys.pending,
            letters=wanted,
            total=self._total or 0,
            most=self._options.max_messages,
            record=self._record,
            record_ttl_ms=keep,
            told=records_of(self._keys, self._source),
        )
        done = await self._sender.call_retrying(call)
        self._moved, self._total = done.moved, done.total
        return done.now == len(wanted)


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def repair(sender: Sender, calls: _bulk.RepairCalls) -> RepairReport:
    """From the oldest message on, where those without a lease are: the others leave."""
    looked_at = leased = without_deadline = without_lease = 0
    here: set[str] = set()
    count = 1
    while True:
        page = await sender.call_retrying(calls.look(looked_at, count))
        here.update(page.tokens_here)
        looked_at += page.entries
        leased += page.leased
        without_deadline += page.without_deadline
        without_lease += page.without_lease
        if looked_at >= page.length or not page.entries:
            break
        count = _bulk.next_count(count, page)
    restored = 0
    if page.tokens > leased:
        restored = await _restore(sender, calls, page.length, count, here)
    return RepairReport(looked_at, without_deadline, without_lease, restored)


async def _restore(sender: Sender, calls: _bulk.RepairCalls, length: int, count: int, here: set[str]) -> int:
    """Search for the messages of leases that were not seen in processing: all of it is compared for each."""
    cursor, restored = "0", 0
    while True:
        page = await sender.call_retrying(calls.search(cursor, count))
        missing = [token for token in page.tokens if token not in here]
        for part in parts(missing, len, max(1, _bulk.COMPARED_AT_ONCE // max(1, length))):
            page = await sender.call_retrying(calls.search(cursor, count, part))
            restored += page.restored
            length += 0 if calls.dry_run else page.restored
        cursor = page.cursor
        if cursor == "0":
            return restored


async def purge(sender: Sender, keys: QueueKeys, target: str, key: str) -> int:
    """Empty the list or set `key`, which is the queue's `target`; how many messages there were."""
    entries = await _purge(sender, keys, target, key)
    waiting, turns = keys.lanes.waiting, keys.lanes.turns
    if target == "pending" and await sender.command("exists", waiting, purged(waiting), turns):
        entries += await _purge(sender, keys, target, waiting)
    return entries


async def _purge(sender: Sender, keys: QueueKeys, target: str, key: str) -> int:
    waiting = key == keys.lanes.waiting
    call = _bulk.purge(
        key=key,
        record=keys.leases.operation_result(new_id()),
        record_ttl_ms=sender.options.replay_ttl_ms(0),
        delivery_counts=keys.delivery_counts,
        notes=keys.notes,
        told=keys.lanes.turns if waiting else records_of(keys, key),
        sorted_set=waiting or target == "delayed",
        delivered=target in ("pending", "delayed"),
        waiting=waiting,
    )
    while True:
        done = await sender.call_retrying(call)
        if done.entries is not None and not done.unfinished:
            return done.entries


async def give_new_ids(sender: Sender, source: str, pending: str, ids: Sequence[str]) -> int:
    """Move the oldest letters of the list `source` to `pending` under these ids; how many there were."""
    record, told = keys_beside(pending).redrive(new_id()), records_of(keys_beside(source), source)
    moved = 0
    while left := ids[moved:]:
        look = _bulk.tail(key=source, count=min(len(left), MOST_AT_ONCE), most_bytes=BYTES_AT_ONCE, raw=True)
        page: Tail = await sender.call_retrying(look)
        pairs = zip(page.entries, left, strict=False)
        letters = [
            _bulk.renewed(PlacedLetter(place, _as_bytes(entry)), message_id=one)
            for place, (entry, one) in enumerate(pairs)
        ]
        if not letters:
            break
        wanted = next(parts(letters, lambda letter: size_of(letter.stored), MOST_AT_ONCE))
        call = _bulk.redrive(
            source=source,
            pending=pending,
            letters=wanted,
            total=len(ids),
            most=None,
            record=record,
            record_ttl_ms=_SHORT_RECORD_MS,
            told=told,
        )
        moved += (await sender.call_retrying(call)).now
    return moved


async def peek_waiting(sender: Sender, keys: QueueKeys, count: int) -> list[str | bytes]:
    """The stored form of messages that wait by priority and limit key, the oldest of each first."""
    members: list[str | bytes] = await sender.command("zrange", keys.lanes.waiting, 0, count - 1)
    return [of_lane_member(member) for member in members]


async def find(sender: Sender, keys: QueueKeys, dead_letters: str, message_id: str) -> Location:
    """Look through the queue, page by page, for one message."""
    found: Location | Cursor = Cursor()
    while isinstance(found, Cursor):
        found = await sender.call_retrying(locate(keys, dead_letters, message_id, found))
    return found


async def take_letters(
    sender: Sender, keys: QueueKeys, source: str, records: str, ids: set[str], *, redrives: bool
) -> dict[str, str]:
    """Take the letters with these ids out of their list, to pending or for good; their new ids, or "".

    The oldest go first. Of several under one id the newest is meant, of which `find` tells, too. A letter is
    known by its place and its digest: what somebody else takes meanwhile is not taken twice.
    """
    taken: dict[str, str] = {}
    left = {*ids}
    while chosen := await _search_letters(sender, source, records, left):
        renewed = [
            _bulk.renewed(one.letter, dry_run=not redrives, lane=lane_told(one.record)) for one in chosen
        ]
        call = _bulk.redrive(
            source=source,
            pending=keys.pending,
            letters=renewed,
            total=len(chosen),
            most=None,
            record=keys.redrive(new_id()),
            record_ttl_ms=_SHORT_RECORD_MS,
        )
        moved = (await sender.call_retrying(call)).now
        for one, form in zip(chosen[:moved], renewed, strict=False):
            await sender.command("lrem", records, 1, one.record)
            taken[one.message_id] = decode(form.stored).id or ""
            left.discard(one.message_id)
    return taken


class _Found(NamedTuple):
    message_id: str
    record: bytes
    letter: PlacedLetter


async def _search_letters(sender: Sender, source: str, records: str, wanted: set[str]) -> list[_Found]:
    """The oldest of the letters with these ids, oldest first: as many as one call may take."""
    found: deque[_Found] = deque()
    left = {*wanted}
    size = start = 0
    while left:
        call = letters(source=source, records=records, start=start, count=LETTERS_AT_ONCE)
        page = await sender.call_retrying(call)
        if not page.pairs:
            break
        known = zip(page.pairs, page.letters(decode=False), strict=True)
        for index, ((payload, record), letter) in enumerate(known, start):
            if letter.message_id in left:
                left.discard(letter.message_id)
                placed = PlacedLetter(page.length - 1 - index, payload)
                found.appendleft(_Found(letter.message_id, record, placed))
                size += len(payload)
            while len(found) > MOST_AT_ONCE or (len(found) > 1 and size > BYTES_AT_ONCE):
                size -= len(found.pop().letter.payload)  # a newer one: for another call
        start += len(page.pairs)
    return [*found]


async def read_letters(sender: Sender, source: str, records: str, start: int, count: int) -> list[Letter]:
    """The newest `count` letters behind the first `start`, or 1 MiB; texts where the client decodes."""
    told: list[Letter] = []
    room, shift, length = LETTER_BYTES, 0, None
    size = min(LETTERS_AT_ONCE, count)
    while len(told) < count and room > 0:
        first = start + len(told) + shift
        call = letters(source=source, records=records, start=first, count=size, most_bytes=room)
        page = await sender.call_retrying(call)
        room -= page.size
        if told and room < 0:  # one comes whatever its size
            break
        # What came to the head meanwhile has moved the others by as much: those were told already.
        again = max(0, page.length - (page.length if length is None else length))
        told += page.letters(decode=decodes(sender.client))[again:]
        shift, length = shift + again, page.length
        if len(page.pairs) < size:
            break
    return told[:count]
