"""What this folder needs of the machine: helm."""

from __future__ import annotations

import pytest
from tests.support.helm import MISSING, NAMES, Helm, binary
from tests.support.required import required


@pytest.fixture(scope="session", params=NAMES)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 3, then Helm 4: they merge values and apply manifests each in its own way."""
    return Helm(required(binary(request.param), MISSING.format(request.param)))
