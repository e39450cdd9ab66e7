"""A port that was given out is for one server alone, however many processes ask at the same time."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from redisqueue_worker import embedded_redis
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ports are reserved on Linux alone")


def can_probe(port: int) -> bool:
    """Whether another process that looks for a port would take this one."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_who_looks_for_a_port_does_not_find_one_that_was_given_out() -> None:
    assert not can_probe(free_port())


def test_nobody_answers_there_before_the_server_does() -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port()), timeout=5)


@pytest.mark.parametrize("address", ["127.0.0.1", ""], ids=["loopback", "all"])
def test_a_server_listens_there_and_so_does_the_next(address: str) -> None:
    port = free_port()
    for _ in range(2):
        with socket.create_server((address, port)), socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_redis_starts_there_and_starts_again() -> None:
    with EmbeddedRedis(port=free_port()) as server:
        server.stop(kill=True)
        server.start()


def test_reservations_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "RESERVED_PORTS", 2)
    counts = []
    for _ in range(4):
        free_port()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert len(set(counts)) == 1
