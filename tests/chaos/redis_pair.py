"""A master and its replica, both with a file of all writes (AOF), which three Sentinels watch.

Clients find the master by asking the Sentinels, or behind one name that is led to wherever these have put it.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from tests.chaos.clock import ServerClock
from tests.chaos.sentinels import Sentinels, sentinels
from tests.support.waiting import eventually

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = "worker"
# Longer than any failover takes, also by a clock that is set forward meanwhile.
HELD_MS = 3_600_000


class RedisPair:
    """`lead` is told the port of the new master whenever there is another one.

    Workers log in as USER. Whoever breaks something does so as the default user, who needs no password.
    """

    def __init__(
        self,
        servers: tuple[EmbeddedRedis, EmbeddedRedis],
        watchers: Sentinels,
        clock: ServerClock,
        host: str,
        password: str,
    ) -> None:
        self._servers = [*servers]
        self._watchers = watchers
        self._host = host
        self.clock = clock
        self._passwords = [password]
        self.lead: Callable[[int], None] = lambda _: None

    @property
    def master(self) -> EmbeddedRedis:
        return self._servers[0]

    @property
    def password(self) -> str:
        """The one that was set last."""
        return self._passwords[-1]

    @property
    def ports(self) -> list[int]:
        """Those of both servers and of the Sentinels."""
        return [*(each.port for each in self._servers), *self._watchers.ports]

    @property
    def sentinel_addresses(self) -> list[str]:
        return self._watchers.addresses

    def producer(self) -> redis.Redis:
        """A client of the master, as a worker is one, but without the cluster between."""
        return redis.Redis(port=self.master.port, username=USER, password=self.password, socket_timeout=5)

    def admin(self, *command: str) -> Any:
        """One command for the master."""
        return _say(self.master, *command)

    def both(self, *command: str) -> None:
        for each in self._servers:
            _say(each, *command)

    def in_step(self) -> None:
        """Wait until the replica has all that the master has."""
        eventually(lambda: _follows(self._servers[1]), "the replica follows")

    def stop(self) -> None:
        """SIGKILL to the master."""
        self.master.stop(kill=True)

    def start(self) -> None:
        """It reads its file, is the master whatever it was at first, and has the logins that hold now."""
        self.master.arguments = _options(self._host, self._passwords)
        self.master.start()

    def fail_over(self, *, killed: bool = False) -> None:
        """The Sentinels have the replica take over; the old master becomes its replica.

        It is asked for, or the master is killed and they find that out. Writes are held up before, and the
        replica has all of them then: what is acknowledged and not replicated yet, Redis itself loses.
        """
        old, new = self._servers
        self._watchers.await_replica()
        _say(old, "CLIENT", "PAUSE", str(HELD_MS), "WRITE")
        written = _replication(old)["master_repl_offset"]
        eventually(lambda: _offset(new) >= written, "the replica has all writes")
        if killed:
            self._watchers.be_quick(True)
            self.stop()
        else:
            self._watchers.fail_over()
        eventually(lambda: _replication(new).get("role") == "master", "the replica is the master")
        self._watchers.await_master(new.port)
        self._watchers.be_quick(False)
        follow = ("--replicaof", self._host, str(new.port))
        self._servers.reverse()
        self.lead(new.port)
        if killed:
            old.arguments = (*_options(self._host, self._passwords), *follow)
            old.start()
        else:
            # Before it takes a write: the Sentinels tell it too, but some ten seconds later.
            _say(old, "REPLICAOF", *follow[1:])
            _say(old, "CLIENT", "UNPAUSE")
        self.in_step()

    def admit(self, password: str) -> None:
        """Both servers take this password too."""
        self._passwords.append(password)
        self.both("ACL", "SETUSER", USER, f">{password}")

    def refuse_old(self) -> None:
        """They take the last password alone, and who has logged in with another one is cut off."""
        for old in self._passwords[:-1]:
            self.both("ACL", "SETUSER", USER, f"<{old}")
        del self._passwords[:-1]
        self.both("CLIENT", "KILL", "USER", USER)


def _say(server: EmbeddedRedis, *command: str) -> Any:
    with redis.Redis(port=server.port, socket_timeout=5) as client:
        return client.execute_command(*command)


def _replication(server: EmbeddedRedis) -> dict[str, Any]:
    """What it says of it; nothing while it does not answer."""
    with contextlib.suppress(redis.RedisError), redis.Redis(port=server.port, socket_timeout=5) as client:
        return dict(client.info("replication"))
    return {}


def _follows(server: EmbeddedRedis) -> bool:
    return _replication(server).get("master_link_status") == "up"


def _offset(server: EmbeddedRedis) -> int:
    return int(_replication(server).get("slave_repl_offset", -1))


def _options(host: str, passwords: list[str]) -> tuple[str, ...]:
    login = ("--user", USER, "on", *(f">{each}" for each in passwords), "~*", "&*", "+@all")
    network = ("--bind", *dict.fromkeys(("127.0.0.1", host)), "--protected-mode", "no")
    return (
        *network,
        "--repl-diskless-sync-delay",
        "0",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        *login,
    )


@contextlib.contextmanager
def redis_pair(host: str, password: str) -> Iterator[RedisPair]:
    """Both servers of this machine, reached by pods at `host`, in step."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redisqueue-pair-")))
        clock, options = ServerClock(folder), _options(host, [password])
        master = stack.enter_context(EmbeddedRedis(binary=clock.binary, arguments=options))
        # By the address that pods know: it is where the Sentinels find the replica, and say it is.
        follow = (*options, "--replicaof", host, str(master.port))
        replica = stack.enter_context(EmbeddedRedis(binary=clock.binary, arguments=follow))
        watchers = stack.enter_context(sentinels(folder, host, master.port))
        pair = RedisPair((master, replica), watchers, clock, host, password)
        pair.in_step()
        yield pair
