"""Fixtures that every test folder shares."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.documented_keys import kept_for_ever

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDERS = ("e2e", "model", "operator", "integration", "faults", "conformance")
"""Side by side, the folders that take longest come first: nothing long is left to wait for at the end."""
OVER_SERVERS = ("conformance", "faults", "integration", "model", "unit")
"""Where each test leaves its server as a queue would."""
OPEN = pytest.StashKey[int]()
"""How many files were open before a test."""


def side_by_side(config: pytest.Config) -> bool:
    """Whether several processes share the tests."""
    return bool(config.getoption("numprocesses", None)) or hasattr(config, "workerinput")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if addressed := next((item.nodeid for item in items if " at 0x" in item.nodeid), None):
        raise pytest.UsageError(f"{addressed}: it has another name in each process: set ids=")
    if side_by_side(config):
        items.sort(key=lambda item: (*FOLDERS, item.path.parts[-2]).index(item.path.parts[-2]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side means file by file: tests of one file share things, and all stories share one cluster.

    pytest-xdist's own groups do nothing under pytest 9.2: they are written into names that are read no more.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", maxsplit=1)[0]
            return "tests/e2e" if file.startswith("tests/e2e/") else file

    return ByFile(config, log)


def open_files() -> int:
    """How many files and connections this process has open."""
    return len(os.listdir("/dev/fd"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[OPEN] = open_files()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    """A test that leaves something open fails itself, and not whichever runs when that is collected."""
    result = yield
    if open_files() <= item.stash[OPEN]:  # a collection takes too long for tests that have opened nothing
        return result
    left: list[str] = []
    known, sys.unraisablehook = sys.unraisablehook, lambda found: left.append(repr(found.exc_value))
    try:
        gc.collect()
    finally:
        sys.unraisablehook = known
    assert not left, "left open"
    return result


class FailuresAtOnce:
    """Tells of a failed test when it fails: a whole run that is cut off has said so much."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            last_words = "\n".join(report.longreprtext.splitlines()[-12:])
            terminal = self._config.pluginmanager.get_plugin("terminalreporter")
            terminal.write_line(f"\n{report.nodeid} ({report.when}) failed:\n{last_words}")


def pytest_configure(config: pytest.Config) -> None:
    if side_by_side(config) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(config), "failures at once")


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


@pytest.fixture(autouse=True)
def _no_key_is_left_for_ever(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test leaves on a server ends by itself, or has a row in the library's table that says otherwise.

    It looks at the shared server after each test that begins with an empty one, and at servers of the test's
    own before they go. Not where a test is about keys of others: `@pytest.mark.foreign_keys("why")`.
    """
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder not in OVER_SERVERS or request.node.get_closest_marker("foreign_keys"):
        yield
        return
    shared = request.getfixturevalue("redis_server") if "redis_url" in request.fixturenames else None
    left: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddedRedis, "close", looking_first(EmbeddedRedis.close, left))
        yield
    if shared is not None:
        left += left_on(shared.url)
    assert left == []


def looking_first(close: Callable[[EmbeddedRedis], None], left: list[str]) -> Callable[[EmbeddedRedis], None]:
    def look_and_close(server: EmbeddedRedis) -> None:
        if server.process is not None:
            left.extend(left_on(server.url))
        close(server)

    return look_and_close


def left_on(url: str) -> list[str]:
    """Nothing of a server that is down, or wants more than a URL says."""
    try:
        with redis.Redis.from_url(url, socket_timeout=5, retry=None) as client:
            return kept_for_ever(client)
    except (redis.RedisError, OSError):
        return []
