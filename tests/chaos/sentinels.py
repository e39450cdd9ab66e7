"""Three Sentinels that watch one master: real ones, of which two must agree before they replace it."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

import redis
from tests.support.waiting import PATIENCE_SECONDS, eventually

from redisqueue_worker.embedded_redis import find_server, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBER, QUORUM = 3, 2
MASTER = "main"
# For how long a master may be silent: very long while none is to be replaced, for a busy machine holds it up,
# and it is stopped on purpose; and not long where it has been killed.
STEADY_MS, QUICK_MS = 120_000, 2000


class Sentinels:
    """`addresses` are host:port of each, for clients that ask for the master's."""

    def __init__(self, host: str, ports: list[int]) -> None:
        self.ports = ports
        self.addresses = [f"{host}:{port}" for port in ports]

    def master(self) -> int:
        """The port of the master, if all of them agree on it; else 0."""
        told = {client.sentinel_get_master_addr_by_name(MASTER)[1] for client in self._clients()}
        return int(told.pop()) if len(told) == 1 else 0

    def await_master(self, port: int) -> None:
        eventually(lambda: self.master() == port, f"the Sentinels name {port} the master")

    def await_replica(self) -> None:
        """Wait until each knows of the others, and of a replica that may take over."""

        def known() -> bool:
            told = [client.sentinel_master(MASTER) for client in self._clients()]
            return all(it["num-other-sentinels"] == NUMBER - 1 and it["num-slaves"] >= 1 for it in told)

        eventually(known, "the Sentinels know each other and the replica")

    def fail_over(self) -> None:
        """Ask for the switch. A Sentinel that has not heard of the replica for a moment promotes nobody."""

        def asked() -> bool:
            with contextlib.suppress(redis.ResponseError):
                next(self._clients()).sentinel_failover(MASTER)
                return True
            return False

        eventually(asked, "a Sentinel begins a failover")

    def be_quick(self, quick: bool) -> None:
        """Shall a master that is silent be replaced?"""
        for client in self._clients():
            client.sentinel_set(MASTER, "down-after-milliseconds", QUICK_MS if quick else STEADY_MS)

    def _clients(self) -> Iterator[Any]:
        for port in self.ports:
            with redis.Redis(port=port, socket_timeout=5) as client:
                yield client


@contextlib.contextmanager
def sentinels(folder: Path, host: str, master: int) -> Iterator[Sentinels]:
    """They watch the server at this port of `host`, and are reached there themselves."""
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(NUMBER)]
        for port in ports:
            config = folder / f"sentinel-{port}.conf"
            config.write_text(
                f"port {port}\nbind {' '.join(dict.fromkeys(('127.0.0.1', host)))}\nprotected-mode no\n"
                f"dir {folder}\n"
                f"sentinel monitor {MASTER} {host} {master} {QUORUM}\n"
                f"sentinel down-after-milliseconds {MASTER} {STEADY_MS}\n"
                f"sentinel failover-timeout {MASTER} 10000\n"
            )
            process = subprocess.Popen([find_server(), config, "--sentinel"], stdout=subprocess.DEVNULL)
            stack.callback(process.wait, PATIENCE_SECONDS)
            stack.callback(process.terminate)
        made = Sentinels(host, ports)
        eventually(lambda: _answer(made), "the Sentinels answer")
        made.await_replica()
        yield made


def _answer(made: Sentinels) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(made.master())
    return False
