"""A server of its own for random histories, reached by a Unix socket: they flush it again and again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from tests.support.faulty_redis import Wire

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """Clients of both faces on an empty server."""
    socket: Path = tmp_path_factory.mktemp("redis") / "socket"
    with EmbeddedRedis(arguments=("--unixsocket", str(socket), "--unixsocketperm", "700")):
        wire = Wire(f"unix://{socket}")
        yield wire
        wire.close()


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    """Thousands of faults are met here, each with a warning of the library."""
    library = logging.getLogger("redis_message_queue")
    library.setLevel(logging.CRITICAL)
    yield
    library.setLevel(logging.NOTSET)
