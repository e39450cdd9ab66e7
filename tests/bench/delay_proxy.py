"""A TCP proxy that holds every reply back: half a millisecond is what a network inside a data centre takes.

`delay_proxy.py PORT SECONDS` prints the port that it listens on and runs until it is ended.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time


def forward(source: socket.socket, target: socket.socket, delay_seconds: float) -> None:
    """Copy one direction of a connection until an end closes it."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            if delay_seconds:
                time.sleep(delay_seconds)
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def serve(port: int, delay_seconds: float) -> None:
    """Accept for ever."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", port))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for ends in ((client, server, 0.0), (server, client, delay_seconds)):
            threading.Thread(target=forward, args=ends, daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
