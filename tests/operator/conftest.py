"""The fixture of this folder: a real API server, where its binaries are found."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.support.api_server import ApiServer, binaries

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    """etcd and kube-apiserver on loopback, one pair for the whole run."""
    folder = binaries()
    if folder is None:
        reason = "etcd, kube-apiserver and kubectl not found: set REDISQUEUE_CLUSTER_BIN to their folder"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with ApiServer(folder) as server:
        yield server
