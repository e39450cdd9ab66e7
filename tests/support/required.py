"""Tests that need something of the machine: skipped with the reason where it is missing, failed in CI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def required(found: Path | None, reason: str) -> Path:
    """What was found. None skips the test, or fails it with CI=true; `reason` says how to provide it."""
    if found is None:
        missing(reason)
    return found


def missing(reason: str) -> NoReturn:
    """End the test: this machine lacks something."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
