"""One redrive from start to end: wait for its queue, connect, move, tell where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue.asyncio import RedisGateway, RedisMessageQueue
from redis_message_queue.exceptions import PayloadTooLargeError
from redis_message_queue.keys import QueueKeys
from redis_message_queue.trouble import AWAY
from redisqueue_operator.errors import PlatformError, QueueUnusable, SettingsUnavailable
from redisqueue_operator.interruptible import cancelled, finished
from redisqueue_operator.observe.follow import usable
from redisqueue_operator.observe.redis.bulkhead import server_at
from redisqueue_operator.observe.redis.reading import unreadable
from redisqueue_operator.outage_log import OutageLog
from redisqueue_operator.redrive.match import Match
from redisqueue_operator.redrive.match_process import MatchError, MatchProcess
from redisqueue_operator.redrive.room import LargeLetter
from redisqueue_operator.redrive.status import RedriveState, failed, running, succeeded, waiting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis_message_queue import RedriveProgress
    from redisqueue_operator.api.model import Key
    from redisqueue_operator.apply.writer import TokenBucket
    from redisqueue_operator.observe.redis.bulkhead import Bulkhead, Hold
    from redisqueue_operator.observe.redis.endpoint import Connect
    from redisqueue_operator.observe.redis.settings import Connections
    from redisqueue_operator.redrive.resource import Redrive
    from redisqueue_operator.redrive.room import Room

log = logging.getLogger(__name__)

SOURCES = {"DeadLetter": "dead_letter", "Failed": "failed"}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
# Redis away for longer is told in the status, and tried again from there.
RETRY_BUDGET_SECONDS = 5
# The operator is shared, and a letter is in its memory about three times. Larger ones are for the command; of
# those that need a request of their own, all redrives together have as much as one such letter in memory.
LARGEST_LETTER_BYTES = 32 << 20
# After a second others have a turn. Who pauses for longer leaves its place, and its process, at once.
TURN_SECONDS = 1.0
# The library moves what may go in a quarter of a second, or one letter, and waits for the next to be due:
# who waits elsewhere is back a little before that.
BATCH_SECONDS, EARLY_SECONDS = 0.25, 0.05
# A server that does not stall, but drips, gives its place and its room back then; and tries again later.
LONGEST_BATCH_SECONDS = 60.0


class RedriveContext(Protocol):
    """What one redrive needs of the controller."""

    connections: Connections
    connect: Connect
    slots: Bulkhead[str]
    """One for each redrive that may read and move letters at a time, by server; free between two batches."""
    room: Room
    """For the large letters of all of them."""
    batches: TokenBucket
    """One token for each batch of any of them."""

    async def queue(self, key: Key) -> dict[str, Any] | None:
        """The RedisQueue; None where there is none. Waits for ever for one that another operator serves."""
        ...

    async def pause(self, redrive: Redrive, seconds: float) -> None:
        """Wait that long, or until its RedisQueue changes."""
        ...

    async def report(self, redrive: Redrive, state: RedriveState) -> bool:
        """Write the status if that is worth it; whether nothing is left to be told. Raises Gone."""
        ...


class Turn:
    """One of the slots, for a while; an async context manager. In it, each batch has its time."""

    def __init__(self, slots: Bulkhead[str], server: str) -> None:
        self._slots = slots
        self._server = server
        self._hold: Hold[str] | None = None
        self._since = 0.0
        self._patience = asyncio.timeout(None)

    async def __aenter__(self) -> Turn:
        await self._patience.__aenter__()
        await self._take()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._give()
        await self._patience.__aexit__(*error)

    async def _take(self) -> None:
        self._hold = await self._slots.take(self._server)
        self._since = time.monotonic()
        self.begin()

    def _give(self) -> None:
        if self._hold is not None:
            self._slots.give(self._hold)
        self._hold = None

    def begin(self) -> None:
        """Another batch: TimeoutError is raised inside of the block when it does not end in time."""
        self._patience.reschedule(asyncio.get_running_loop().time() + LONGEST_BATCH_SECONDS)

    async def aside(self, until: Callable[[], Awaitable[None]], taken: Callable[[], Awaitable[None]]) -> None:
        """Let others have it until then; `taken` is called when they took it."""
        self._patience.reschedule(None)
        self._give()
        if not self._slots.has_room(self._server):
            await taken()
        await until()
        await self._take()

    @property
    def over(self) -> bool:
        """Whether it has lasted long enough."""
        return time.monotonic() - self._since >= TURN_SECONDS


@dataclass(slots=True)
class LastReport:
    """The last that was reported of a run, to people and to the log."""

    outage: OutageLog
    progress: RedriveProgress | None = None
    """None before its first batch."""


async def carry_out(redrive: Redrive, context: RedriveContext) -> RedriveState:
    """Go on until it has finished: how it ended."""
    pause, seen = FIRST_PAUSE_SECONDS, LastReport(OutageLog(log, f"redrive {redrive.key}"))
    while True:
        try:
            match = Match(**asdict(redrive.spec.match)) if redrive.spec.match else None
        except ValueError as error:
            return failed("PatternInvalid", f"spec.match: {error}")
        try:
            return succeeded(redrive, await _attempt(redrive, match, context, seen))
        except MatchError as error:
            return replace(failed(error.reason, str(error)), progress=seen.progress)
        except PayloadTooLargeError as error:
            text = f"{error}: `redisqueue redrive` moves it, on a machine that has the memory"
            return replace(failed("PayloadTooLarge", text), progress=seen.progress)
        except QueueUnusable as error:
            state = waiting(error.reason, str(error))
        except PlatformError as error:
            state = waiting("ApiError", str(error))
        except (SettingsUnavailable, ValueError, *AWAY) as error:
            state = waiting(*unreadable(error))
        seen.outage.failed(state.reason, state.message, time.monotonic())
        await context.report(redrive, replace(state, progress=seen.progress))
        await context.pause(redrive, pause)
        pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


async def _attempt(
    redrive: Redrive, match: Match | None, context: RedriveContext, seen: LastReport
) -> RedriveProgress:
    spec = redrive.spec
    obj = await context.queue(redrive.queue)
    rq = usable(obj, redrive.queue)
    settings = await context.connections.settings(rq, fresh=True)
    server = server_at(settings)
    if not context.slots.has_room(server):
        await context.report(redrive, waiting("Queued", "Others move first: only a few do at a time."))
    async with Turn(context.slots, server) as turn, contextlib.AsyncExitStack() as stack:
        client = context.connect(settings)
        stack.push_async_callback(lambda: finished(client.aclose()))
        await context.report(redrive, running(redrive, None))
        if match and match.reason is not None:
            keys = QueueKeys(rq.spec.queue.name, rq.spec.queue.key_separator)
            match = replace(match, records=await client.lrange(keys.dead_letter_info, 0, -1))
        matches = await stack.enter_async_context(MatchProcess(match)) if match else None

        letter = stack.enter_context(LargeLetter(context.room, server))
        between = _Between(redrive, context, obj, seen, turn, letter, matches)
        queue = rq.spec.queue
        gateway = RedisGateway(redis_client=client, retry_budget_seconds=RETRY_BUDGET_SECONDS)
        work = RedisMessageQueue(queue.name, gateway=gateway, key_separator=queue.key_separator)
        return await work.redrive(
            SOURCES[spec.from_],  # type: ignore[arg-type]  # one of the two
            max_messages=spec.max,
            per_second=spec.rate_per_second,
            match=matches,
            dry_run=spec.dry_run,
            max_payload_bytes=LARGEST_LETTER_BYTES,
            make_room=between.make_room,
            record=redrive.uid,
            on_progress=between.note,
        )


@dataclass(slots=True)
class _Between:
    """What is done between two batches of one redrive."""

    redrive: Redrive
    context: RedriveContext
    obj: dict[str, Any] | None
    """The RedisQueue as it was last looked at."""
    seen: LastReport
    turn: Turn
    letter: LargeLetter
    matches: MatchProcess | None

    async def note(self, progress: RedriveProgress) -> None:
        """Tell how far it is, and let others have a turn."""
        self.letter.give()
        self.turn.begin()
        if cancelled():  # redis-py loses some cancellations
            raise asyncio.CancelledError
        spec = self.redrive.spec
        pause = _pause_after(progress, self.seen.progress, None if spec.dry_run else spec.rate_per_second)
        self.seen.progress = progress
        self.seen.outage.over()
        await self.context.report(self.redrive, running(self.redrive, progress))
        if pause > TURN_SECONDS:
            await self._rest()
        if self.turn.over or pause > TURN_SECONDS:
            await self.turn.aside(lambda: asyncio.sleep(max(0.0, pause - EARLY_SECONDS)), self._rest)
        await self.context.batches.take()
        if progress.remaining and progress.moved != spec.max:
            await self._look_again()

    async def _look_again(self) -> None:
        """Nothing more is moved into the queue of a RedisQueue that is being deleted, or may not touch it."""
        obj = await self.context.queue(self.redrive.queue)
        if obj is not self.obj:  # to read one takes milliseconds
            usable(obj, self.redrive.queue)
            self.obj = obj

    async def make_room(self, size: int) -> None:
        """Wait until so large a letter may be in memory; who waits for that waits outside."""
        self.letter.give()
        if self.context.room.has(size):
            await self.letter.take(size)
        else:
            await self.turn.aside(lambda: self.letter.take(size), self._rest)

    async def _rest(self) -> None:
        if self.matches:
            await self.matches.rest()


def _pause_after(
    progress: RedriveProgress, before: RedriveProgress | None, per_second: float | None
) -> float:
    """Seconds until the next letter may move at that pace."""
    if per_second is None or progress.remaining == 0:
        return 0.0
    moved = progress.moved - (
        before.moved if before else 0
    )  # a restart's first batch has all the earlier ones
    return min(moved / per_second, max(BATCH_SECONDS, 1 / per_second))
