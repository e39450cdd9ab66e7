"""Being told by Redis of the first change of a queue: one connection per server for all queues that rest.

`CLIENT TRACKING`, made for client-side caches: the server remembers which keys a connection has read, and
says once when one of them is written, whoever does it and by whatever command or script. Keyspace
notifications would need a change of the server's configuration, and tell of each write to a busy queue; a
channel of our own would need all producers, v7 peers included, to publish to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from importlib import import_module
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import AuthenticationError, InvalidResponse, NoPermissionError, ResponseError

from redis_message_queue.client_checks import is_cluster
from redisqueue_operator.interruptible import cancelled, ended, within
from redisqueue_operator.observe.redis.errors import classify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence


K = TypeVar("K", bound=Hashable)
OnChange = Callable[[K, bool], None]
"""With the queue, and whether it changed: else it may change unseen from now on."""
log = logging.getLogger(__name__)

BEAT_SECONDS, READ_SECONDS = 5.0, 12.0
"""How often a connection is asked whether it lives, and how long it may be silent."""
OPEN_SECONDS, ARM_SECONDS = 6.0, 15.0
_QUIET: dict[str, Any] = {}
with contextlib.suppress(ImportError):  # redis-py 8 would ask for more to be told
    _QUIET["maint_notifications_config"] = import_module(
        "redis.asyncio.maint_notifications"
    ).MaintNotificationsConfig(enabled=False)
AT_ONCE = 200
"""Queues that are armed in one request."""
SURPLUS = 10_000
"""More keys than were asked for, flushes of databases included: no server of good faith tells so many."""
YIELD_AFTER = 50
# A refusal leaves a line in the server's ACL LOG; where nobody tells each trial may keep a message waiting;
# what is no right may be a proxy that is replaced some day.
FORBIDDEN_SECONDS, REFUSED_SECONDS, AWAY_SECONDS, AWAY_OFTEN = 3600.0, 300.0, 1.0, 3


class Flooded(Exception):
    """A server tells of more keys than it was asked for."""


class Untold(Exception):
    """A server, or a proxy before it, took the request and does not tell of what changes."""


class Tracking(Generic[K]):
    """Arms queues of one Redis; calls `on_change` once for each that changed, or whose connection is lost."""

    def __init__(self, on_change: OnChange[K], place: str) -> None:
        self._on_change = on_change
        self._place = place
        self._lanes: dict[str, _Lane[K]] = {}
        self._numbers = count(1)
        self._not_before = 0.0
        self._failures = 0
        self._refusals: set[str] = set()
        self.refused = False
        """Whether queues have to be waited for in another way: the server does not tell."""

    @property
    def usable(self) -> bool:
        """Whether it may be tried now."""
        return _now() >= self._not_before

    async def arm(self, client: Any, wanted: Mapping[K, Sequence[str]]) -> dict[K, int]:
        """Have the server tell of these keys of queues; those that are armed, each with a number of its own.

        One that changed between its arming and the return is not among them: `on_change` was called.
        """
        found: dict[K, int] = {}
        try:
            by_node = await within(OPEN_SECONDS, _by_node(client, wanted))
            for name, (connect, queues) in by_node.items():
                lane = await self._lane(name, connect)
                found |= await within(
                    ARM_SECONDS, lane.arm({key: wanted[key] for key in queues}, self._numbers)
                )
        except Exception as error:
            if not cancelled():
                self._failed(error)
        else:
            self._failures, self.refused = 0, False
        return {key: number for key, number in found.items() if self.stands(key, number)}

    def stands(self, key: K, number: int) -> bool:
        """Whether nothing was told of the queue since it was armed under this number."""
        return any(lane.standing.get(key) == number for lane in self._lanes.values())

    def forget(self, key: K) -> None:
        """Tell no more of it."""
        for lane in self._lanes.values():
            lane.forget(key)

    async def distrust(self) -> None:
        """What is armed is not told of: have all be waited for in another way, and try again later."""
        self._failed(Untold("a change was not told of"))
        await self.close()

    async def close(self) -> None:
        """End every connection."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            await lane.close()

    async def _lane(self, name: str, connect: Callable[[], Any]) -> _Lane[K]:
        if (lane := self._lanes.get(name)) is not None and lane.alive:
            return lane
        if lane is not None:
            await lane.close()
        lane = _Lane(self._on_change, self._failed)
        try:
            await within(OPEN_SECONDS, lane.open(connect()))
        except BaseException:
            await lane.close()
            raise
        self._lanes[name] = lane
        return lane

    def _failed(self, error: BaseException) -> None:
        """Decide when to try again, and say once why queues are not told of."""
        self._failures += 1
        if isinstance(error, (ResponseError, InvalidResponse, Flooded, Untold)):
            self.refused = True
            pause = FORBIDDEN_SECONDS if isinstance(error, (NoPermissionError, Untold)) else REFUSED_SECONDS
        else:
            self.refused = (
                self.refused or self._failures >= AWAY_OFTEN or isinstance(error, AuthenticationError)
            )
            pause = AWAY_SECONDS * min(self._failures, 30)
        self._not_before = max(self._not_before, _now() + pause)
        own = isinstance(error, (Flooded, Untold))
        reason = type(error).__name__ if own else classify(error)[0]
        if self.refused and reason not in self._refusals:
            self._refusals.add(reason)
            log.warning(
                "%s does not tell of changes (%s): up to 64 sleeping queues are waited for with a connection"
                " each, the others are sampled. A user needs +client|tracking: see `redisqueue acl`",
                self._place,
                reason,
            )


class _Lane(Generic[K]):
    """One connection to one server: what is armed there, and what was told."""

    def __init__(self, on_change: OnChange[K], failed: Callable[[BaseException], None]) -> None:
        self._on_change = on_change
        self._failed = failed
        self._connection: Any = None
        self._replies: deque[asyncio.Future[Any]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._queues: dict[bytes, set[K]] = defaultdict(set)
        self._names: dict[K, tuple[bytes, ...]] = {}
        self._surplus = 0
        self.standing: dict[K, int] = {}
        self.alive = False

    async def open(self, connection: Any) -> None:
        """Connect, with RESP3, and have the server remember what is read. Raises what that raises."""
        self._connection = connection
        await connection.connect()
        # redis-py hands these to its own cache, for which alone it has a public way.
        connection._parser.set_invalidation_push_handler(self._take)  # noqa: SLF001
        await connection.send_command("CLIENT", "TRACKING", "ON")
        await connection.read_response()
        self.alive = True
        self._tasks = [
            asyncio.create_task(self._run(self._read)),
            asyncio.create_task(self._run(self._beat)),
        ]

    async def arm(self, wanted: Mapping[K, Sequence[str]], numbers: Any) -> dict[K, int]:
        """Read the keys of these queues; those that the server has read."""
        found: dict[K, int] = {}
        left = iter(wanted)
        while keys := tuple(islice(left, AT_ONCE)):
            commands = []
            for key in keys:
                self.forget(key)
                # Before it is sent: what is told may come before the reply.
                names = self._names[key] = tuple(name.encode() for name in wanted[key])
                for name in names:
                    self._queues[name].add(key)
                self.standing[key] = next(numbers)
                self._surplus -= len(names)
                commands.append(("EXISTS", *names))
            asked = {key: self.standing[key] for key in keys}
            replies = await self._ask(commands)
            for (key, number), reply in zip(asked.items(), replies, strict=True):
                if isinstance(reply, NoPermissionError):
                    raise reply
                if isinstance(reply, Exception):  # another node has it
                    self.forget(key)
                else:
                    found[key] = number
        return found

    def forget(self, key: K) -> None:
        self.standing.pop(key, None)
        for name in self._names.pop(key, ()):
            queues = self._queues[name]
            queues.discard(key)
            if not queues:
                del self._queues[name]

    async def close(self) -> None:
        """End the connection; what stands is told of, as it may change unseen."""
        await ended(self._tasks)
        self._over()
        if self._connection is not None:
            with contextlib.suppress(Exception):
                await self._connection.disconnect(nowait=True)

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if not self.alive:
            raise ConnectionError("the connection that tells of changes is lost")
        futures = [asyncio.get_running_loop().create_future() for _ in commands]
        self._replies.extend(futures)
        await self._connection.send_packed_command(
            self._connection.pack_commands(commands), check_health=False
        )
        return await asyncio.gather(*futures)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            if self.alive and not cancelled():
                log.debug("the connection that tells of changes is lost: %s", error)
                self._failed(error)
        self._over()

    async def _beat(self) -> None:
        while self.alive:
            await asyncio.sleep(BEAT_SECONDS)
            (hello,) = await self._ask([("HELLO",)])  # which every user may say
            if isinstance(hello, dict) and hello.get(b"role") in (b"replica", b"slave"):
                raise ConnectionError("the server is a replica now")

    async def _read(self) -> None:
        pushes = 0
        while self.alive:
            try:
                reply = await self._connection.read_response(
                    disable_decoding=True, timeout=READ_SECONDS, push_request=True
                )
            except ResponseError as error:
                reply = error
            if reply is None or isinstance(reply, list):
                pushes += 1
                if self._surplus > SURPLUS:
                    raise Flooded("more was told than was asked for")
                if pushes % YIELD_AFTER == 0:  # redis-py does not, while it has something to read
                    await asyncio.sleep(0)
                continue
            if not self._replies:
                raise InvalidResponse("a reply that nobody waits for")
            future = self._replies.popleft()
            if not future.done():
                future.set_result(reply)

    async def _take(self, push: Any) -> Any:
        """`invalidate` and the names of keys, or nothing where all keys are gone."""
        names = push[1] if len(push) > 1 else ()
        if names is None:
            self._surplus += 1
            for key in list(self.standing):
                self._tell(key, changed=True)
            return push
        self._surplus += max(1, len(names)) if isinstance(names, list) else 1
        for name in names if isinstance(names, list) else ():
            if isinstance(name, bytes):
                for key in tuple(self._queues.get(name, ())):
                    self._tell(key, changed=True)
        return push

    def _tell(self, key: K, *, changed: bool) -> None:
        self.forget(key)
        self._on_change(key, changed)

    def _over(self) -> None:
        self.alive = False
        while self._replies:
            future = self._replies.popleft()
            if not future.done():
                future.set_exception(ConnectionError("the connection that tells of changes is lost"))
                future.exception()  # nobody may wait for it any more
        for key in list(self.standing):
            self._tell(key, changed=False)


async def _by_node(
    client: Any, wanted: Mapping[K, Sequence[str]]
) -> dict[str, tuple[Callable[[], Any], list[K]]]:
    """The queues of each server, and how a connection to it is made."""
    if not is_cluster(client):
        pool = client.connection_pool
        return {"": (lambda: _resp3(pool.connection_class, pool.connection_kwargs), list(wanted))}
    await client.initialize()
    found: dict[str, tuple[Callable[[], Any], list[K]]] = {}
    for key, names in wanted.items():
        node = client.nodes_manager.get_node_from_slot(client.keyslot(names[0]))
        connect = lambda node=node: _resp3(node.connection_class, node.connection_kwargs)  # noqa: E731
        found.setdefault(node.name, (connect, []))[1].append(key)
    return found


def _resp3(connection_class: Any, options: Mapping[str, Any]) -> Any:
    return connection_class(**{**options, **_QUIET, "protocol": 3})


def _now() -> float:
    return asyncio.get_running_loop().time()
