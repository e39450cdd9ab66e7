"""Fixtures that every test folder shares."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from redisqueue_operator.local.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("e2e", "operator", "integration")
"""Side by side, the folders that take longest come first: nothing long is left to wait for at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side means file by file: tests of one file share things, and the stories share a cluster."""
    if not config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    for item in items:
        file = item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group(file.parts[0] if file.parts[0] == "e2e" else str(file)))
    items.sort(key=lambda item: (*FOLDERS, item.path.parts[-2]).index(item.path.parts[-2]))


# What a shell starts in the background ignores SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    """One real server for the whole run."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """The URL of the shared server, emptied before the test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A bytes-mode client on the emptied shared server."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
