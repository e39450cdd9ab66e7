"""Answers HTTP requests on a socket that listens already: the part of `health` that takes long to import."""

from __future__ import annotations

import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable

    Answer = tuple[int, str, str]  # status, body, content type


def serve(
    listener: socket.socket, answer: Callable[[str], Answer], ended: threading.Event, look_seconds: float
) -> None:
    """Answer whoever connects, each on a thread of its own, until `ended`, which is looked at now and then.

    Args:
        answer: gets the path.
    """
    server = _Server(listener.getsockname()[:2], partial(_Probe, answer), bind_and_activate=False)
    # Not bound by the base class, which would ask DNS for this host's full name.
    server.socket.close()
    server.socket = listener
    server.timeout = look_seconds
    while not ended.is_set():
        server.handle_request()


# Between two looks while there is no descriptor left for who connects.
_PAUSE_SECONDS = 0.05


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def get_request(self) -> Any:
        """Who connects. Raises OSError, which the base class passes over and tries again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_SECONDS)
            raise


class _Probe(BaseHTTPRequestHandler):
    timeout = 5

    def __init__(self, answer: Callable[[str], Answer], *about: Any) -> None:
        self._answer = answer
        super().__init__(*about)  # which handles the request

    def do_GET(self) -> None:
        status, body, content_type = self._answer(self.path.partition("?")[0])
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class's name)
        """Probes come every few seconds: they are not worth a line each."""
