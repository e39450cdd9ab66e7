"""The Lease object on the API server; its calls pass no rate limiter."""

from __future__ import annotations

from typing import Any

from redisqueue_operator.kubernetes_api import KubernetesApi, path_of

GROUP, VERSION, PLURAL = "coordination.k8s.io", "v1", "leases"
NAME = "redisqueue-operator"
MANAGER = {"fieldManager": "redisqueue-operator"}
"""Who owns the fields that we write: without it the API server goes by the name of the HTTP client."""
LABELS = {"app.kubernetes.io/name": "redis-queue-operator"}
"""By which the Leases of all operators of a cluster are found."""


class KubernetesLease:
    """Implements `lease.LeaseStore`: a replace succeeds only on the version that was read."""

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
            "apiVersion": f"{GROUP}/{VERSION}",
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
        return path_of(GROUP, VERSION, PLURAL, self._namespace, name)
