"""A master and its replica, both with a file of all writes (AOF), behind one name in the cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from tests.support.waiting import eventually

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER = "worker"


class RedisPair:
    """`lead` is told the port of the new master whenever there is another one.

    Workers log in as USER. Whoever breaks something does so as the default user, who needs no password.
    """

    def __init__(self, first: EmbeddedRedis, second: EmbeddedRedis, host: str, password: str) -> None:
        self._servers = [first, second]
        self._host = host
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
    def ports(self) -> tuple[int, int]:
        first, second = self._servers
        return first.port, second.port

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

    def fail_over(self) -> None:
        """The replica takes over with all that was acknowledged; the old master becomes its replica."""
        self.in_step()
        old, new = self._servers
        _say(old, "FAILOVER", "TO", "127.0.0.1", str(new.port), "TIMEOUT", "30000")
        eventually(lambda: _say(new, "ROLE")[0] == b"master", "the replica is the master")
        self._servers.reverse()
        self.lead(new.port)

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


def _follows(server: EmbeddedRedis) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis(port=server.port) as client:
        return bool(client.info("replication").get("master_link_status") == "up")
    return False


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
        options = _options(host, [password])
        master = stack.enter_context(EmbeddedRedis(arguments=options))
        follow = (*options, "--replicaof", "127.0.0.1", str(master.port))
        pair = RedisPair(master, stack.enter_context(EmbeddedRedis(arguments=follow)), host, password)
        pair.in_step()
        yield pair
