"""Whether messages are safe on a server: its eviction policy, its persistence, whether it is a replica."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError

from redis_message_queue.client_checks import is_cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import redis
    import redis.asyncio

__all__ = ["Concern", "ServerFacts", "server_facts", "server_facts_async"]

SAFE_POLICY = "noeviction"
_YES_OR_NO = {"1": True, "yes": True, "0": False, "no": False}
# Some servers have roles of their own, in which they may well take writes.
_REPLICA = {"master": False, "slave": True, "replica": True}


class Concern(NamedTuple):
    """Something about the server that can cost messages: a word for programs, a sentence for people."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server told of itself; None is what it does not tell.

    Attributes:
        eviction_policy: its maxmemory-policy.
        persistent: whether it writes snapshots or an append-only file.
        replica: whether it follows another server.
    """

    eviction_policy: str | None = None
    persistent: bool | None = None
    replica: bool | None = None

    @property
    def concerns(self) -> tuple[Concern, ...]:
        """What is known to be wrong, the worst first: Replica, EvictsKeys, NoPersistence."""
        found = []
        if self.replica:
            text = (
                "it is a replica: what is written there is refused, or lost at its next synchronisation;"
                " name the master"
            )
            found.append(Concern("Replica", text))
        if self.eviction_policy not in (None, SAFE_POLICY):
            found.append(Concern("EvictsKeys", _eviction(str(self.eviction_policy))))
        if self.persistent is False:
            text = (
                "it keeps nothing on disk: a restart loses every message; switch on the append-only file"
                " ('appendonly yes') or snapshots ('save')"
            )
            found.append(Concern("NoPersistence", text))
        return tuple(found)

    @property
    def unknown(self) -> tuple[str, ...]:
        """What the server does not tell, in words."""
        told = {
            "its eviction policy": self.eviction_policy,
            "its persistence": self.persistent,
            "whether it is a replica": self.replica,
        }
        return tuple(what for what, value in told.items() if value is None)

    def __str__(self) -> str:
        """What is known, on one line."""
        disk = {None: "persistence unknown", True: "persistent", False: "keeps nothing on disk"}
        role = {None: "role unknown", True: "replica", False: "master"}
        policy = self.eviction_policy or "eviction policy unknown"
        return f"{policy}, {disk[self.persistent]}, {role[self.replica]}"


def _eviction(policy: str) -> str:
    takes = (
        "what remembers publishes and claims goes early, and messages are enqueued or handled twice"
        if policy.startswith("volatile-")
        else "messages, or whole queues, go without an error"
    )
    when = f"it evicts keys when memory is short (maxmemory-policy {policy})"
    return f"{when}: {takes}; set it to {SAFE_POLICY}"


def open_questions(info: Mapping[str, Any]) -> tuple[str, ...]:
    """What INFO leaves open; nothing else is asked, because hosted servers hide CONFIG, but not INFO."""
    appends = _yes_or_no(info.get("aof_enabled"))
    asked = {
        "maxmemory-policy": "maxmemory_policy" not in info,
        "appendonly": appends is None,
        "save": not appends,  # there may still be snapshots, which INFO does not tell of
    }
    return tuple(name for name, is_open in asked.items() if is_open)


def facts_of(info: Mapping[str, Any], settings: Mapping[str, Any]) -> ServerFacts:
    """From the replies to INFO and to CONFIG GET, without what was refused."""
    policy = info.get("maxmemory_policy", settings.get("maxmemory-policy"))
    appends, save = _yes_or_no(info.get("aof_enabled")), settings.get("save")
    if appends is None:
        appends = _yes_or_no(settings.get("appendonly"))
    return ServerFacts(
        eviction_policy=None if policy is None else str(policy),
        persistent=True if appends or save else None if None in (appends, save) else False,
        replica=_REPLICA.get(str(info.get("role"))),
    )


def _yes_or_no(value: object) -> bool | None:
    return _YES_OR_NO.get(str(value))


def merged(servers: Iterable[ServerFacts]) -> ServerFacts:
    """A cluster is as safe as the least safe of its masters."""
    known = list(servers)
    policies = [each.eviction_policy for each in known]
    evicting = [policy for policy in policies if policy not in (None, SAFE_POLICY)]
    return ServerFacts(
        eviction_policy=evicting[0] if evicting else None if None in policies or not known else SAFE_POLICY,
        persistent=_worst([each.persistent for each in known], bad=False),
        replica=_worst([each.replica for each in known], bad=True),
    )


def _worst(answers: list[bool | None], *, bad: bool) -> bool | None:
    if bad in answers:
        return bad
    return None if None in answers or not answers else not bad


async def server_facts_async(client: redis.asyncio.Redis | redis.asyncio.RedisCluster) -> ServerFacts:
    """Ask the server, in a cluster each master, by INFO and, for what that leaves open, CONFIG GET.

    Neither is needed for anything else: where they are refused the facts are unknown, which is None. Raises
    `redis.RedisError` or OSError when the server cannot be reached.
    """
    source: Any = client
    if is_cluster(client):
        masters = await _masters_async(client)
        return merged([await _ask_async(source, target_nodes=node) for node in masters])
    return await _ask_async(source)


async def _ask_async(client: Any, **target: Any) -> ServerFacts:
    info = await _told_async(client, "INFO", **target)
    settings: dict[str, Any] = {}
    for name in open_questions(info):
        settings |= await _told_async(client, "CONFIG GET", name, **target)
    return facts_of(info, settings)


async def _told_async(client: Any, *question: str, **target: Any) -> dict[str, Any]:
    with contextlib.suppress(ResponseError):
        return _mapping(await client.execute_command(*question, **target))
    return {}


async def _masters_async(cluster: Any) -> list[Any]:
    await cluster.initialize()
    return list(cluster.get_primaries())


def _masters(cluster: Any) -> list[Any]:
    return list(cluster.get_primaries())


def _mapping(reply: Any) -> dict[str, Any]:
    return reply if isinstance(reply, dict) else {}


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def server_facts(client: redis.Redis | redis.RedisCluster) -> ServerFacts:
    """Ask the server, in a cluster each master, by INFO and, for what that leaves open, CONFIG GET.

    Neither is needed for anything else: where they are refused the facts are unknown, which is None. Raises
    `redis.RedisError` or OSError when the server cannot be reached.
    """
    source: Any = client
    if is_cluster(client):
        masters = _masters(client)
        return merged([_ask(source, target_nodes=node) for node in masters])
    return _ask(source)


def _ask(client: Any, **target: Any) -> ServerFacts:
    info = _told(client, "INFO", **target)
    settings: dict[str, Any] = {}
    for name in open_questions(info):
        settings |= _told(client, "CONFIG GET", name, **target)
    return facts_of(info, settings)


def _told(client: Any, *question: str, **target: Any) -> dict[str, Any]:
    with contextlib.suppress(ResponseError):
        return _mapping(client.execute_command(*question, **target))
    return {}
