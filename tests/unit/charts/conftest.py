"""What this folder needs of the machine: helm."""

from __future__ import annotations

import pytest
from tests.support.helm import MISSING, Helm, binary
from tests.support.required import required


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(required(binary(), MISSING))
