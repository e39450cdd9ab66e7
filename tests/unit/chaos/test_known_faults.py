"""The faults with which the chaos is tried still fit the code that they break."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.chaos.check import KNOWN_FAULTS
from tests.support.cluster import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def test_there_are_eleven() -> None:
    assert len(KNOWN_FAULTS) == 10


@pytest.mark.parametrize("patch", KNOWN_FAULTS, ids=lambda patch: patch.stem)
def test_a_known_fault_fits(patch: Path) -> None:
    subprocess.run(["git", "apply", "--check", patch], cwd=REPOSITORY, check=True)
