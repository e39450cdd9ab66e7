"""Other processes on the shared server, of 7.0.0 and of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.v7 import Peer, require_v7, require_v11

collect_ignore = ["apps"]  # projects of their own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redisqueue_worker.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="session")
def peers(redis_server: EmbeddedRedis) -> Iterator[dict[str, Peer]]:
    """One process of each library, `v7` and `ours`; each test makes its own queues in them."""
    require_v7()
    with Peer("v7", redis_server.url) as v7, Peer("ours", redis_server.url) as ours:
        yield {"v7": v7, "ours": ours}


@pytest.fixture(scope="module")
def newest_peers(redis_server: EmbeddedRedis) -> Iterator[dict[str, Peer]]:
    """The same of 7.0.0, 11.0.1 and ours: `v7`, `v11` and `ours`."""
    require_v7()
    require_v11()
    url = redis_server.url
    with Peer("v7", url) as v7, Peer("v11", url) as v11, Peer("ours", url) as ours:
        yield {"v7": v7, "v11": v11, "ours": ours}
