"""What was asked of an API server, by its own audit log, whose times are when an answer was complete."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READS = ("get", "list", "watch")


class Failed(Exception):
    """What was waited for did not happen; the text says what."""


@dataclass(frozen=True)
class Call:
    """One request that was answered. `at` in seconds since the epoch."""

    at: float
    verb: str
    resource: str
    name: str
    replicas: int | None = None

    @property
    def writes(self) -> bool:
        return self.verb not in READS


class Calls:
    """The calls since this was made; `ended` says whether who makes them is gone. To be closed."""

    def __init__(self, audit_log: Path, ended: Callable[[], bool] = lambda: False) -> None:
        self._lines: Any = audit_log.open()
        self._ended = ended
        self.all: list[Call] = []
        self._wrote_at = 0.0

    def close(self) -> None:
        self._lines.close()

    def read(self) -> None:
        """Take in what the audit log has by now."""
        while line := self._lines.readline():
            if not line.endswith("\n"):
                self._lines.seek(self._lines.tell() - len(line.encode()))
                return
            if found := call(json.loads(line)):
                self.all.append(found)
                self._wrote_at = found.at if found.writes else self._wrote_at

    def forget(self) -> None:
        """Begin anew: what was asked so far is of no interest."""
        self.read()
        self.all.clear()

    def until(self, look: Callable[[list[Call]], bool], what: str, seconds: float = 120.0) -> None:
        """Read on until the calls so far are as wanted. Raises Failed."""
        deadline = time.monotonic() + seconds
        while not look(self.all):
            if time.monotonic() > deadline or self._ended():
                raise Failed(f"not within {seconds:g} s: {what}")
            time.sleep(0.02)
            self.read()

    def quiet(self, for_seconds: float) -> None:
        """Wait until nothing was written for so long, the Lease aside."""
        since = time.time()
        self.until(
            lambda _: time.time() - max(since, self._wrote_at) > for_seconds,
            f"no writes for {for_seconds:g} s",
        )

    def scales(self, since: float) -> list[Call]:
        """The writes to /scale from then on."""
        return [
            each
            for each in self.all
            if each.resource == "deployments/scale" and each.writes and each.at >= since
        ]


def call(event: dict[str, Any]) -> Call | None:
    """An audit event as a call of who scales; None for anybody else's, and for the Lease."""
    reference = event.get("objectRef") or {}
    if event["userAgent"].startswith(("kubectl", "kube-apiserver")) or reference.get("resource") == "leases":
        return None
    subresource = reference.get("subresource")
    spec = (event.get("requestObject") or {}).get("spec")
    return Call(
        at=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
        verb=event["verb"],
        resource=reference.get("resource", "") + (f"/{subresource}" if subresource else ""),
        name=reference.get("name", ""),
        # Zero is left out of a Scale that is written as a whole.
        replicas=None if spec is None else spec.get("replicas", 0),
    )
