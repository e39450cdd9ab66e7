"""A Service of the cluster that leads to a server of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.cluster import Manifest


def service_to_host(namespace: str, name: str, host: str, port: int) -> tuple[Manifest, Manifest]:
    """The Service, with port 6379, and where it leads; applied again, it leads elsewhere."""
    metadata = {"name": name, "namespace": namespace}
    ports = [{"port": 6379, "targetPort": port}]
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [host]}],
        "ports": [{"port": port, "protocol": "TCP"}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}}, slice_
