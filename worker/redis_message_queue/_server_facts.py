"""What a server says of itself that decides whether messages are safe on it: questions, and how they read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

T = TypeVar("T")
# Yields commands, is sent the parsed replies; None for one that the server refused.
Inquiry: TypeAlias = "Generator[tuple[str, ...], Mapping[str, Any] | None, T]"

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


def inquiry() -> Inquiry[ServerFacts]:
    """Ask one server. What INFO tells needs no further right: hosted servers hide CONFIG, not INFO."""
    info = (yield ("INFO",)) or {}
    policy, persistent = info.get("maxmemory_policy"), _YES_OR_NO.get(str(info.get("aof_enabled")))
    if policy is None:
        policy = yield from _setting("maxmemory-policy")
    if persistent is None:
        persistent = _YES_OR_NO.get((yield from _setting("appendonly")) or "")
    if not persistent:  # there may still be snapshots, which INFO does not tell of
        save = yield from _setting("save")
        persistent = True if save else None if save is None or persistent is None else False
    return ServerFacts(
        eviction_policy=None if policy is None else str(policy),
        persistent=persistent,
        replica=_REPLICA.get(str(info.get("role"))),
    )


def _setting(name: str) -> Inquiry[str | None]:
    reply = yield ("CONFIG GET", name)
    value = (reply or {}).get(name)
    return None if value is None else str(value)


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
