"""The parametrized face: every test here runs for threads and for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.faces import FACES, Face

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=sorted(FACES))
async def face(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Face]:
    """One face over the emptied shared server."""
    face = FACES[request.param](redis_url)
    yield face
    await face.close()
