"""The fixture of this folder: helm, where it is found."""

from __future__ import annotations

import os

import pytest
from tests.support.helm import Helm, binary


@pytest.fixture(scope="session")
def helm() -> Helm:
    path = binary()
    if path is None:
        reason = "helm not found: put it on the PATH or into the folder REDISQUEUE_CLUSTER_BIN"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Helm(path)
