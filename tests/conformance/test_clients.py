"""Every call over every kind of client: both protocols, replies decoded or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.duties import DUTIES

if TYPE_CHECKING:
    from tests.support.faces import Face


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "decoded"])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_every_call_understands_its_replies(face: Face, protocol: int, decode: bool) -> None:
    client = face.client(protocol=protocol, decode_responses=decode)
    for duty in DUTIES.values():
        await duty(face, client)
