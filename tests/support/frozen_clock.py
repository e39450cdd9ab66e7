"""A clock that stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING

import freezegun

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def freeze(day: str) -> AbstractContextManager[object]:
    """freezegun's.

    It looks into every module, and at such a look pydantic, and the Kubernetes client where another test
    imported it, import more of themselves: their models would be made of the frozen types.
    """
    return freezegun.freeze_time(day, ignore=["pydantic", "kubernetes"])
