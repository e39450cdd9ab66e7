"""Every call over every kind of client: both protocols, replies decoded or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.duties import DUTIES
from tests.support.faces import FACES
from tests.support.servers import reached_by_url

from redis_message_queue import LuaScriptError
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from tests.support.faces import Face
    from tests.support.servers import Server


@pytest.mark.parametrize("decode", [False, True], ids=["bytes", "decoded"])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_every_call_understands_its_replies(face: Face, protocol: int, decode: bool) -> None:
    client = face.client(protocol=protocol, decode_responses=decode)
    for duty in DUTIES.values():
        await duty(face, client)


@pytest.mark.parametrize("name", sorted(FACES))
async def test_a_server_that_is_too_old_is_named(name: str, server: Server) -> None:
    lacking = [word for command in ("LMOVE", "BLMOVE") for word in ("--rename-command", command, "")]
    with EmbeddedRedis(binary=server.binary, arguments=lacking) as old:
        face = FACES[name](reached_by_url(old.binary, old.url))
        queue = face.queue()
        await face.call(queue.publish, "x")
        with pytest.raises(LuaScriptError, match=r"Redis 6\.2 or newer"):
            async with face.process(queue):
                pass
        with pytest.raises(redis.ResponseError, match=r"(?i)unknown.*command"):
            await face.call(face.consumer("{jobs}").claim, 1)
        await face.close()
