"""A TCP proxy that can lose replies: a request arrives, and the connection breaks instead of an answer."""

from __future__ import annotations

import contextlib
import socket
import threading


class LossyProxy:
    """Forwards loopback connections to `port`; a context manager.

    Set `losing` to a word: from then on, a connection that sends a request with this word in it gets no
    reply to it and is closed. `lost` counts these.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.losing = b""
        self.lost = 0

    def __enter__(self) -> LossyProxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                doomed = threading.Event()
                for forward in (self._forward_requests, self._forward_replies):
                    threading.Thread(target=forward, args=(client, server, doomed), daemon=True).start()

    def _forward_requests(
        self, client: socket.socket, server: socket.socket, doomed: threading.Event
    ) -> None:
        with server, contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.losing and self.losing in data:
                    doomed.set()
                server.sendall(data)

    def _forward_replies(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with client, contextlib.suppress(OSError):
            while data := server.recv(65536):
                if doomed.is_set():
                    self.lost += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
