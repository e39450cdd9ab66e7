"""The control socket of a worker that has run out of what it takes to answer, for a while."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_worker import control
from redisqueue_worker.shutdown import Drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = 60.0


class Scarce:
    """A listener, for which there is no descriptor at first."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.refused = threading.Event()

    def accept(self) -> Any:
        if not self.refused.is_set():
            self.refused.set()
            raise OSError(24, "Too many open files")
        return self._listener.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def asked(path: Path, word: bytes = b"status\n") -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LONG)
        client.connect(str(path))
        if word:
            client.sendall(word)
        return client.recv(100).decode()


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[], control.ControlServer]:
    def status() -> tuple[Drain, int]:
        return Drain(1.0), 0

    return lambda: control.ControlServer(tmp_path, lambda _event: None, status, lambda: iter(()))


def test_it_answers_again_once_there_are_descriptors(
    serve: Callable[[], control.ControlServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = control._listen
    monkeypatch.setattr(control, "_listen", lambda path: Scarce(listen(path)))
    server = serve()
    scarce: Any = server._listener
    assert scarce.refused.wait(LONG)
    assert asked(server.path) == "running in_flight=0\n"
    server.close()


def test_who_asks_while_there_is_no_thread_is_not_kept_waiting(
    serve: Callable[[], control.ControlServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with monkeypatch.context() as patch:

        def no_thread(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", no_thread)
        assert asked(server.path, b"") == ""
    assert asked(server.path) == "running in_flight=0\n"
    server.close()
