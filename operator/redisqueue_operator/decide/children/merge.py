"""Strategic merge: the user's pod template over ours, with the rules that `kubectl patch` has."""

from __future__ import annotations

import copy
from typing import Any

from redisqueue_operator.api.patches import MERGE_KEYS, PATCH

# Of these an entry is one choice among several (value or valueFrom, emptyDir or configMap): half of the old
# choice beside the new one would be refused, so the new entry replaces the old one.
_WHOLE_ENTRIES = ("env", "volumes")


def merged(base: Any, patch: Any, name: str = "") -> Any:
    """`base` with `patch` over it; neither is changed, and parts of the base may be in both.

    Maps are merged by key, and null removes one, if it is there. Lists with a merge key are merged entry by
    entry: a new one goes to the end, `$patch: delete` in one removes it. Anything else is replaced. `name` is
    the field that holds the two. Other directives are refused before (`api.patches`).
    """
    if isinstance(patch, dict):
        return _merged_maps(base if isinstance(base, dict) else {}, patch)
    # Entries that are none stay as they are written: the API server says best what it wants there.
    if isinstance(patch, list) and name in MERGE_KEYS and all(_is_entry(item, name) for item in patch):
        return _merged_lists(base if isinstance(base, list) else [], patch, name)
    return copy.deepcopy(patch)


def _is_entry(item: Any, name: str) -> bool:
    """Whether it is a map whose key can tell it from others."""
    return isinstance(item, dict) and not isinstance(item.get(MERGE_KEYS[name]), (dict, list))


def _merged_maps(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        if key == PATCH:
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, key)
    return result


def _merged_lists(base: list[Any], patch: list[Any], name: str) -> list[Any]:
    key = MERGE_KEYS[name]
    result = {item.get(key): item for item in base}
    for item in patch:
        identity = item.get(key)
        if item.get(PATCH) == "delete":
            result.pop(identity, None)
        else:
            result[identity] = merged({} if name in _WHOLE_ENTRIES else result.get(identity, {}), item)
    return list(result.values())
