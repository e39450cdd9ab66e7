"""What a chart grants to its ServiceAccount, beside what an API server's audit log says that it used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.whole_lines import whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CREATED = 201


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one kind of object; `name` where it is for one object alone."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.verb, self.group or "core", self.resource, self.name)))


@dataclass(frozen=True)
class Request:
    """One request that the audit log has."""

    right: Right
    status: int

    @property
    def uses(self) -> set[Right]:
        """The rights without which it would have been refused: a server-side apply that creates needs two."""
        group, resource, verb, name = (getattr(self.right, part) for part in Right.__dataclass_fields__)
        verbs = {verb, "create"} if verb == "patch" and self.status == CREATED else {verb}
        return {Right(group, resource, each, of) for each in verbs for of in ("", name)}


def granted(manifests: Iterable[dict[str, Any]], account: str) -> set[Right]:
    """Every right that roles among the manifests give to that ServiceAccount by a binding."""
    found = list(manifests)
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"])
        for each in found
        if each["kind"].endswith("RoleBinding")
        and any(subject["name"] == account for subject in each["subjects"])
    }
    return {
        Right(group, resource, verb, name)
        for each in found
        if (each["kind"], each["metadata"]["name"]) in bound
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def requests(log: Path, user: str, since: int = 0) -> list[Request]:
    """The requests of that user about objects, from that byte of the log on."""
    events = [json.loads(line) for line in whole_lines(log, since)]
    return [
        Request(_right_of(event), event.get("responseStatus", {}).get("code", 0))
        for event in events
        if event["user"]["username"] == user and "resource" in event.get("objectRef", {})
    ]


def _right_of(event: dict[str, Any]) -> Right:
    about = event["objectRef"]
    resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    return Right(about.get("apiGroup", ""), resource, event["verb"], about.get("name", ""))
