"""One address that leads to now this server, now that one, as a Service or a TCP balancer does."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import redis
from tests.support.worker_process import eventually

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class OneName:
    """Forwards each new connection to `target`, a port; those that exist stay where they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> OneName:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        address = "127.0.0.1", self.target
        with client, contextlib.suppress(OSError), socket.create_connection(address) as server:
            replies = threading.Thread(target=_pump, args=(server, client), daemon=True)
            replies.start()
            _pump(client, server)
            replies.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until one end is closed, which closes the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Pair:
    """A master and its replica, and the name that leads to the master."""

    def __init__(self, master: EmbeddedRedis, replica: EmbeddedRedis, name: OneName) -> None:
        self.master = master
        self.replica = replica
        self.name = name
        self.old = redis.Redis.from_url(master.url)
        self.new = redis.Redis.from_url(replica.url)

    def fail_over(self) -> redis.Redis:
        """The replica takes over, and the old master lives on as a replica; a client of the new master."""
        # WAIT is about what this client wrote, and so about all that was written before.
        self.old.set("in step", 1, px=1)
        assert self.old.wait(1, 60_000) == 1
        self.new.replicaof("NO", "ONE")
        self.name.target = self.replica.port
        self.old.replicaof("127.0.0.1", self.replica.port)
        return self.new


@contextlib.contextmanager
def one_name(find: Callable[[], str]) -> Iterator[Pair]:
    """A master with a replica in step, behind one name."""
    with contextlib.ExitStack() as stack:
        options = ("--repl-diskless-sync-delay", "0")
        master = stack.enter_context(EmbeddedRedis(binary=find(), arguments=options))
        follow = ("--replicaof", "127.0.0.1", str(master.port))
        replica = stack.enter_context(EmbeddedRedis(binary=find(), arguments=follow))
        with redis.Redis.from_url(replica.url) as client:
            eventually(
                lambda: client.info("replication")["master_link_status"] == "up", "the replica follows"
            )
        pair = Pair(master, replica, stack.enter_context(OneName(master.port)))
        with pair.old, pair.new:
            yield pair
