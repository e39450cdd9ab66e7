"""What a pod template may say of a strategic merge patch: the keys of its lists, the directives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.structure import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MERGE_KEYS = {
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
"""Lists of a pod template whose entries are merged by a key; every other list is replaced as a whole."""
PATCH = "$patch"
_OTHERS = ("$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")
_OF_MAPS = "is not followed here: leave it out, and write null for each field that is to go"
_OF_ENTRIES = "must be delete, which removes the entry of this {key}: nothing else is followed here"
_OF_LISTS = "is not followed here: leave it out, this list replaces the generated one as a whole"


def strange_directives(patch: Any, path: str) -> Iterator[Problem]:
    """Each directive in a pod template that a merge would not follow, and what to write in its place."""
    yield from _in_value(patch, path, "", _OF_MAPS)


def _in_value(value: Any, path: str, name: str, way_out: str) -> Iterator[Problem]:
    """`name`: the field that holds the value. `way_out`: what is said of a directive right in it."""
    if isinstance(value, list):
        key = MERGE_KEYS.get(name)
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if key and isinstance(item, dict) and item.get(PATCH) == "delete":
                if item.get(key) is None:
                    yield Problem(f"{where}.{key}", None, "must be set, to say which entry is to be deleted")
                continue
            yield from _in_value(item, where, "", _OF_ENTRIES.format(key=key) if key else _OF_LISTS)
    elif isinstance(value, dict):
        for field, item in value.items():
            if field == PATCH and (item != "merge" or way_out == _OF_LISTS):
                yield Problem(f"{path}.{field}", item, way_out)
            elif str(field).startswith(_OTHERS):
                yield Problem(f"{path}.{field}", item, _OF_MAPS)
            else:
                yield from _in_value(item, f"{path}.{field}", field, _OF_MAPS)
