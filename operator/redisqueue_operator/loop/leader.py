"""Leader election by a coordination.k8s.io Lease, with client-go's algorithm.

Expiry is judged by our own monotonic clock since the Lease was last seen to change, never by the times
written in it: two machines' clocks are not compared. Losing the Lease ends `hold`; the process then ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from redisqueue_operator.api.resources import path_of

if TYPE_CHECKING:
    from redisqueue_operator.kubernetes_api import KubernetesApi

log = logging.getLogger(__name__)


class LeaseStore(Protocol):
    """Get, create and compare-and-set one Lease; every failure is an exception."""

    async def get(self, timeout_seconds: float) -> dict[str, Any] | None: ...

    async def create(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]: ...

    async def replace(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds. A holder gives up after `renew_deadline`, before anybody may take over at `duration`."""

    duration: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0

    @classmethod
    def lasting(cls, seconds: int) -> LeaseTimes:
        """The same proportions for another duration."""
        usual = cls()
        share = seconds / usual.duration
        return cls(seconds, usual.renew_deadline * share, usual.retry * share)


class Election:
    """One candidate for one Lease."""

    def __init__(self, store: LeaseStore, identity: str, times: LeaseTimes | None = None) -> None:
        self.identity = identity
        self.holding = False
        self.holder = ""
        """Who had the Lease when it was last looked at."""
        self._store = store
        self._times = times or LeaseTimes()
        self._seen_version = ""
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Wait until we hold the Lease."""
        while not await self._try():  # noqa: ASYNC110  (asks a server, not a variable)
            await asyncio.sleep(self._times.retry)
        self.holding = True
        log.info("leading as %s", self.identity)

    async def hold(self) -> None:
        """Renew; return when no renewal succeeded for `renew_deadline` seconds: we lead no longer."""
        renewed_at = time.monotonic()
        while (left := renewed_at + self._times.renew_deadline - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await asyncio.sleep(self._times.retry)
                    started = time.monotonic()
                    if await self._try():
                        renewed_at = started
        self.holding = False
        log.error("lost the lease: no renewal for %g s", self._times.renew_deadline)

    async def release(self) -> None:
        """Let the next candidate lead at once; where that fails, the Lease expires."""
        if not self.holding:
            return
        self.holding = False
        try:
            lease = await self._store.get(self._times.retry)
            if lease is None or lease["spec"].get("holderIdentity") != self.identity:
                return
            lease["spec"] |= {"holderIdentity": "", "renewTime": _now()}
            await self._store.replace(lease, self._times.retry)
        except Exception as error:
            log.warning("could not release the lease: %s", error)

    async def _try(self) -> bool:
        timeout = self._times.retry + 1
        try:
            lease = await self._store.get(timeout)
            if lease is None:
                lease = await self._store.create({"spec": self._spec(None)}, timeout)
            elif self._takeable(lease):
                lease["spec"] = self._spec(lease["spec"])
                lease = await self._store.replace(lease, timeout)
            else:
                return False
        except Exception as error:
            log.debug("lease: %s", error)
            return False
        self._see(lease)
        return True

    def _takeable(self, lease: dict[str, Any]) -> bool:
        spec = lease.get("spec") or {}
        self._see(lease)
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True
        return time.monotonic() >= self._seen_at + float(
            spec.get("leaseDurationSeconds") or self._times.duration
        )

    def _see(self, lease: dict[str, Any]) -> None:
        self.holder = lease["spec"].get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, time.monotonic()

    def _spec(self, old: dict[str, Any] | None) -> dict[str, Any]:
        old = old or {}
        ours = old.get("holderIdentity") == self.identity
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._times.duration,
            "acquireTime": old["acquireTime"] if ours and old.get("acquireTime") else _now(),
            "renewTime": _now(),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours or not old else 1),
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


LEASES = ("coordination.k8s.io", "v1", "leases")
LEASE_NAME = "redisqueue-operator"
MANAGER = {"fieldManager": "redisqueue-operator"}
"""Who owns the fields that we write: without it the API server goes by the name of the HTTP client."""
LABELS = {"app.kubernetes.io/name": "redis-queue-operator"}
"""By which the Leases of all operators of a cluster are found."""


class KubernetesLease:
    """The Lease object on the API server: a replace succeeds only on the version that was read.

    Its calls pass no rate limiter.
    """

    def __init__(self, api: KubernetesApi, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name

    async def get(self, timeout_seconds: float) -> dict[str, Any] | None:
        """The Lease, or None. Raises ApiError, OSError, TimeoutError, as the others do."""
        return await self._api.get(self._path(self._name), timeout_seconds=timeout_seconds)

    async def create(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Create it; fails when it exists."""
        body = {
            "apiVersion": "/".join(LEASES[:2]),
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, "labels": LABELS},
            **lease,
        }
        return await self._write("POST", self._path(""), body, timeout_seconds)

    async def replace(self, lease: dict[str, Any], timeout_seconds: float) -> dict[str, Any]:
        """Write it back; fails when somebody else wrote in between."""
        return await self._write("PUT", self._path(self._name), lease, timeout_seconds)

    async def _write(
        self, method: str, path: str, body: dict[str, Any], timeout_seconds: float
    ) -> dict[str, Any]:
        return await self._api.request(
            method, path, query=MANAGER, body=body, timeout_seconds=timeout_seconds
        )

    def _path(self, name: str) -> str:
        return path_of(*LEASES, self._namespace, name)
