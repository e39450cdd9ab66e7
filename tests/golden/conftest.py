"""`pytest tests/golden --update-golden` writes the expected manifests anew; read the difference then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.support import sections
from tests.support.helm import MISSING, NAMES, Helm, binary
from tests.support.required import required

if TYPE_CHECKING:
    from pathlib import Path

Written = Callable[["Path", str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/manifests anew")


@pytest.fixture(scope="session", params=NAMES)
def helm(request: pytest.FixtureRequest) -> Helm:
    """Helm 3, then Helm 4: both are to make the same of a chart."""
    return Helm(required(binary(request.param), MISSING.format(request.param)))


@pytest.fixture
def written(pytestconfig: pytest.Config) -> Written:
    """Checks that the section of that name in a page is the text; with --update-golden it is written anew."""

    def check(page: Path, name: str, expected: str) -> None:
        if pytestconfig.getoption("--update-golden", default=False):
            sections.write(page, name, expected)
        assert sections.read(page, name) == expected, "pytest tests/golden --update-golden writes it anew"

    return check
