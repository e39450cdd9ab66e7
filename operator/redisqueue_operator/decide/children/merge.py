"""Strategic merge: the user's pod template over ours, with the rules that `kubectl patch` has."""

from __future__ import annotations

import copy
from typing import Any

# Lists of a pod template whose entries are merged by a key; every other list is replaced as a whole.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
# Of these an entry is one choice among several (value or valueFrom, emptyDir or configMap): half of the old
# choice beside the new one would be refused, so the new entry replaces the old one.
_WHOLE_ENTRIES = ("env", "volumes")
_DIRECTIVE = "$patch"


def merged(base: Any, patch: Any, name: str = "") -> Any:
    """`base` with `patch` over it; neither is changed, and parts of the base may be in both.

    Maps are merged by key, and null removes one. Lists with a merge key are merged entry by entry: a new one
    goes to the end, `$patch: delete` in one removes it. Anything else is replaced. `name` is the field that
    holds the two.
    """
    if isinstance(base, dict) and isinstance(patch, dict):
        return _merged_maps(base, patch)
    lists = isinstance(base, list) and isinstance(patch, list) and name in _MERGE_KEYS
    # Entries that are none stay as they are written: the API server says best what it wants there.
    if lists and all(_is_entry(item, name) for item in patch):
        return _merged_lists(base, patch, name)
    return copy.deepcopy(patch)


def _is_entry(item: Any, name: str) -> bool:
    """Whether it is a map whose key can tell it from others."""
    return isinstance(item, dict) and not isinstance(item.get(_MERGE_KEYS[name]), (dict, list))


def _merged_maps(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in patch.items():
        if key == _DIRECTIVE:
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value, key)
    return result


def _merged_lists(base: list[Any], patch: list[Any], name: str) -> list[Any]:
    key = _MERGE_KEYS[name]
    result = {item.get(key): item for item in base}
    for item in patch:
        identity = item.get(key)
        if item.get(_DIRECTIVE) == "delete":
            result.pop(identity, None)
        else:
            result[identity] = merged({} if name in _WHOLE_ENTRIES else result.get(identity, {}), item)
    return list(result.values())
