"""The server of the probes while there is no descriptor left for who connects."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from redisqueue_worker import probes

if TYPE_CHECKING:
    import pytest

MANY = 1000


class Scarce(socket.socket):
    """A listener that gives nobody a connection."""

    ended: threading.Event
    refused = 0

    def accept(self) -> Any:
        self.refused += 1
        if self.refused == MANY:
            self.ended.set()
        raise OSError(24, "Too many open files")


def test_it_does_not_look_for_a_descriptor_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scarce(fileno=socket.create_server(("127.0.0.1", 0)).detach()) as listener:
        listener.ended = threading.Event()
        monkeypatch.setattr(probes.time, "sleep", lambda _seconds: listener.ended.set())
        with socket.create_connection(listener.getsockname()):
            probes.serve(listener, lambda _path: (200, "", ""), listener.ended, 60)
        assert listener.refused == 1
