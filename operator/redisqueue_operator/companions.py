"""The children that no watch tells of: disruption budgets, and the snapshots of handler files. Pure.

They are listed at each resync. One that is gone or was changed is applied again; a snapshot that no
ReplicaSet can come back to is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.model import Key
from redisqueue_operator.resources.identity import OWNER_UID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Object = dict[str, Any]
Name = tuple[str, Key]
"""Kind, and namespace with name."""

# Long enough for the ReplicaSet of a snapshot that was made just now to be seen.
KEEP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Companion:
    """One of them, as it was applied or listed."""

    kind: str
    key: Key
    uid: str
    generation: int
    """Grows when its spec is changed; 0 for a kind that has none."""

    @property
    def name(self) -> Name:
        return self.kind, self.key


def companion_of(kind: str, obj: Object) -> Companion:
    """What identifies this very version of the object."""
    metadata = obj["metadata"]
    key = Key(metadata["namespace"], metadata["name"])
    return Companion(kind, key, metadata["uid"], int(metadata.get("generation", 0)))


def intact(applied: Iterable[Companion], listed: Mapping[Name, Companion]) -> bool:
    """Whether all that was applied is there as it was applied."""
    return all(listed.get(each.name) == each for each in applied)


def covers(live: Any, wanted: Any) -> bool:
    """Whether an object has all that a manifest says; what else it has is the server's, or somebody's.

    A server may write a value in another way (1500m for 1.5): then it is no, and an apply does no harm.
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            covers(live.get(name), value) for name, value in wanted.items() if value != "" or name in live
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return bool(live == wanted)


def snapshots_in(pod_spec: Object) -> set[str]:
    """The names of the ConfigMaps that pods of this spec mount."""
    volumes = pod_spec.get("volumes") or ()
    return {each["configMap"]["name"] for each in volumes if (each.get("configMap") or {}).get("name")}


def unused(snapshots: Iterable[Object], queue: str, used: Iterable[str], now: float) -> list[Object]:
    """Those of the snapshots that may go.

    Args:
        snapshots: ConfigMaps of one RedisQueue, their metadata at least.
        queue: its name.
        used: names that its Deployment, one of its ReplicaSets or its spec mounts.
        now: seconds since the epoch, by the clock that dates objects.
    """
    kept = set(used)
    return [
        each
        for each in snapshots
        if each["metadata"]["name"].startswith(f"{queue}-handler-")
        and OWNER_UID in (each["metadata"].get("annotations") or {})
        and each["metadata"]["name"] not in kept
        and now - _created(each) > KEEP_SECONDS
    ]


def _created(obj: Object) -> float:
    return datetime.fromisoformat(obj["metadata"]["creationTimestamp"]).timestamp()
