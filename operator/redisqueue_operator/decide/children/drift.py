"""Children as they were wanted and as they are: what differs, what may go, what is in the way, what got lost.

No watch tells of disruption budgets and of the snapshots of handler files: they are listed at each resync.
Strict validation refuses only what the schema does not know: a field behind a feature gate of the API server
is dropped without a word.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import GROUP, KIND
from redisqueue_operator.api.model import Key
from redisqueue_operator.decide.children.identity import MANAGED_BY, OPERATOR, OWNER_UID
from redisqueue_operator.observe.facts import FIELDS_DROPPED, ApplyOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Object = dict[str, Any]
Name = tuple[str, Key]
"""Kind, and namespace with name."""

# Long enough for the ReplicaSet of a snapshot that was made just now to be seen.
KEEP_SECONDS = 600.0
# Fields that say nothing when they are false: the server then leaves them out.
_OFF = {"hostIPC", "hostNetwork", "hostPID", "paused", "readOnly", "stdin", "stdinOnce", "tty"}
_QUANTITIES = {"requests", "limits", "capacity", "sizeLimit", "divisor"}
_UNITS = {unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)}
_UNITS |= {unit: Decimal(1000) ** -power for power, unit in enumerate(("m", "u", "n"), 1)}
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)((?:[KMGTPE]i|[numkMGTPE])?)", re.ASCII
)
# Beyond that Kubernetes counts no further.
_MOST = Decimal(2**63 - 1)


def name_of(obj: Object) -> Name:
    """By which it is known among all kinds."""
    return obj["kind"], Key(obj["metadata"]["namespace"], obj["metadata"]["name"])


def is_as_wanted(live: Object | None, manifest: Object, *parts: str) -> bool:
    """Whether an apply of the manifest would change nothing of these parts of the object.

    What is there and is not wanted any more shows in the hash of what was applied, and in the owners.
    """
    if live is None:
        return False
    wanted = {part: manifest[part] for part in parts}
    metadata = wanted["metadata"]
    owners = metadata.get("ownerReferences") or ()
    wanted["metadata"] = {
        **_without(metadata, "ownerReferences"),
        "labels": _without(metadata["labels"], MANAGED_BY),
        # Another operator that applies the same is as good.
        "annotations": _without(metadata.get("annotations") or {}, OPERATOR),
    }
    return covers(live, wanted) and owners_to_be(live, owners) is None


def owners_to_be(live: Object, wanted: Iterable[Object]) -> list[Object] | None:
    """The owners that an object shall have: these RedisQueues, and of other kinds as they are.

    None where it has them.
    """
    have = live["metadata"].get("ownerReferences") or []
    others = [each for each in have if not _is_redis_queue(each)]
    ours = [each["uid"] for each in have if _is_redis_queue(each)]
    return None if ours == [each["uid"] for each in wanted] else [*others, *wanted]


def _is_redis_queue(owner: Object) -> bool:
    return bool(owner["kind"] == KIND) and owner["apiVersion"].partition("/")[0] == GROUP


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in fields.items() if each != name}


def covers(live: Any, wanted: Any) -> bool:
    """Whether an object has all that a manifest says; what else it has is the server's, or somebody's."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            _covers_field(name, live[name], value) if name in live else _says_nothing(name, value)
            for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return bool(live == wanted)


def _covers_field(name: str, live: Any, wanted: Any) -> bool:
    return _same_quantity(live, wanted) if name in _QUANTITIES else covers(live, wanted)


def _says_nothing(name: str, value: Any) -> bool:
    """Whether the server leaves the field out."""
    return bool(value in ("", None, {}, []) or (value is False and name in _OFF))


def _same_quantity(live: Any, wanted: Any) -> bool:
    """Whether both mean the same: the server writes 1.5 as 1500m. Of a map, all that is wanted."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(_same_quantity(live.get(name), wanted[name]) for name in wanted)
    amount = quantity(str(wanted))
    return bool(live == wanted) or (amount is not None and amount == quantity(str(live)))


def quantity(text: str) -> Decimal | None:
    """A quantity of Kubernetes, which is finite; None for what is none."""
    if (found := _QUANTITY.fullmatch(text)) is None:
        return None
    number, unit = found.groups()
    try:
        amount = Decimal(number) * _UNITS.get(unit, 1)
    except ArithmeticError:  # its exponent is beyond all measure
        return None
    return max(-_MOST, min(_MOST, amount))


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector of a PodDisruptionBudget picks pods with these labels: none of it, no pod."""
    if selector is None:
        return False
    matches = all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())
    return matches and all(_meets(each, labels) for each in selector.get("matchExpressions") or ())


def _meets(requirement: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement["key"]), requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:  # DoesNotExist
            return value is None


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


MOST_NAMED = 10


def outcome_of(dropped: list[str], message: str) -> ApplyOutcome:
    """How an apply ended whose template lost these fields; `message` where it lost none."""
    if not dropped:
        return ApplyOutcome(ok=True, reason="Applied", message=message)
    rest = f" and {len(dropped) - MOST_NAMED} more" if len(dropped) > MOST_NAMED else ""
    text = (
        f"The API server dropped {', '.join(dropped[:MOST_NAMED])}{rest}: version or feature gates of this "
        "cluster do not support it. Take it out of spec.worker, or have the cluster support it."
    )
    return ApplyOutcome(ok=True, reason=FIELDS_DROPPED, message=text)


def dropped_from(live: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """The paths of what `wanted` has and `live` has not. A value in another notation is no loss."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for name, value in wanted.items():
            inner = f"{path}.{name}" if path else name
            if name in live:
                yield from dropped_from(live[name], value, inner)
            elif value not in (None, "", 0, False, [], {}):  # zero values may be left out
                yield inner
    elif isinstance(wanted, list) and isinstance(live, list):
        found = {_name(each): each for each in live}
        for index, value in enumerate(wanted):
            name = _name(value)
            known = found.get(name) if name else live[index] if index < len(live) else None
            inner = f"{path}[{name or index}]"
            if known is None:
                yield inner
            else:
                yield from dropped_from(known, value, inner)


def _name(item: Any) -> str:
    return str(item.get("name") or "") if isinstance(item, dict) else ""
