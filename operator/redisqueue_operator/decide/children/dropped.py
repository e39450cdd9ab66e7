"""Fields that an API server took and did not keep: its version knows them, a feature gate hides them. Pure.

Strict validation refuses only what the schema does not know. A field behind a gate is dropped without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.observe.facts import FIELDS_DROPPED, ApplyOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

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
