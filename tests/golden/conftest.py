"""`pytest tests/golden --update-golden` writes the expected manifests anew; read the difference then."""

from __future__ import annotations

import pytest
from tests.support.helm import MISSING, NAMES, Helm, binary
from tests.support.required import required


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/manifests anew")


@pytest.fixture(scope="session", params=NAMES)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 3, then Helm 4: both are to make the same of a chart."""
    return Helm(required(binary(request.param), MISSING.format(request.param)))
