"""A cluster with our images and our operator, for what is no test."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.cluster import PROVIDER, REPOSITORY, Cluster, provider

if TYPE_CHECKING:
    from collections.abc import Iterator

HELM = REPOSITORY / "helm"


@contextmanager
def installed(namespace: str, keep: bool, *settings: str) -> Iterator[Cluster]:
    """The operator in that namespace, with further options of Helm.

    The cluster is gone afterwards, unless it was up and shall be kept.
    """
    try:
        if not keep:
            subprocess.run(["make", "-C", REPOSITORY, "cluster-up"], check=True, stdout=sys.stderr)
        cluster = Cluster(provider("kubeconfig"), provider("tools"))
        cluster.helm("upgrade", "--install", "redisqueue-crds", HELM / "redis-queue-crds")
        cluster.helm(
            *("upgrade", "--install", "redisqueue", HELM / "redis-queue-operator"),
            "--values",
            PROVIDER.parent / "values.yaml",
            *settings,
            *("--namespace", namespace, "--create-namespace", "--wait", "--timeout", "120s"),
        )
        yield cluster
    finally:
        if not keep:
            provider("down")
