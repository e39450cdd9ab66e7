"""Processes of the published redis-message-queue 7.0.0 and 11.0.1, black boxes in environments of their own,
and of ours.

All run the same program, so any test can be written once and played with either in any role.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.environments import Unavailable, python_with
from tests.support.required import missing

import redis_message_queue
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import redis

REQUIREMENT = "redis-message-queue==7.0.0"
NEWEST = "redis-message-queue==11.0.1"
KEYS = QueueKeys("q")
# The options that `client=` gives a gateway, but a wait that ends at once.
WAITLESS = {
    "message_visibility_timeout_seconds": 300,
    "max_delivery_count": 10,
    "dead_letter_queue": KEYS.dead_letter,
    "message_wait_interval_seconds": 0,
}
_PROGRAM = Path(__file__).with_name("queue_peer.py")
_OURS = Path(redis_message_queue.__file__).parent.parent


def v7_python() -> Path:
    """The interpreter that has 7.0.0 installed. Raises Unavailable."""
    return python_with("v7", REQUIREMENT)


def v11_python() -> Path:
    """The interpreter that has 11.0.1 installed. Raises Unavailable."""
    return python_with("v11", NEWEST)


def require_v7() -> None:
    """Skip the test with one line when 7.0.0 is not to be had; fail instead when CI=true."""
    _require(v7_python)


def require_v11() -> None:
    """The same of 11.0.1."""
    _require(v11_python)


def _require(python: Callable[[], Path]) -> None:
    try:
        python()
    except Unavailable as error:
        missing(str(error))


def let_leases_expire(client: redis.Redis) -> None:
    """Let every lease of the queue end now, in the order of the claims."""
    for stored, token in client.hgetall(KEYS.lease_tokens).items():
        client.zadd(KEYS.lease_deadlines, {stored: int(token)}, xx=True)


class PeerError(Exception):
    """What a call raised in the other process; `name` is the class."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Peer:
    """One process of 7.0.0 (`library="v7"`), of 11.0.1 (`"v11"`) or of ours (`"ours"`); a context manager."""

    def __init__(self, library: str, url: str) -> None:
        self.library = library
        if library != "ours":
            python = v7_python() if library == "v7" else v11_python()
            command, environment = [str(python), "-I"], {}
        else:
            command, environment = [sys.executable, "-P"], {"PYTHONPATH": str(_OURS)}
        self._process = subprocess.Popen(
            [*command, str(_PROGRAM), url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def ask(self, do: str, **request: Any) -> Any:
        """One request and its answer. Raises PeerError."""
        self.send(do, **request)
        return self.receive()

    def send(self, do: str, **request: Any) -> None:
        """A request whose answer is to be received later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """The answer of the request that was sent. Raises PeerError."""
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise PeerError(answer["error"], answer["text"])
        return answer["answer"]

    def queue(self, name: str = "q", face: str = "sync", **options: Any) -> PeerQueue:
        """A queue in that process, over a client of its own; `gateway={…}` gives its gateway's options."""
        return PeerQueue(self, self.ask("open", name=name, face=face, **options))

    def kill(self) -> None:
        """SIGKILL: whatever it has in hand stays as it is."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@dataclass
class Waiting:
    """An answer to come."""

    answer: Any = None


class PeerQueue:
    """A queue of another process."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer = peer
        self._number = number

    def _ask(self, do: str, **request: Any) -> Any:
        return self.peer.ask(do, queue=self._number, **request)

    def publish(self, *messages: str | dict[str, Any]) -> list[bool]:
        """What `publish` returned for each."""
        return self._ask("publish", messages=messages)  # type: ignore[no-any-return]

    @contextmanager
    def publishing(self, *messages: str) -> Iterator[Waiting]:
        """Publish while the block runs; the answer is there after it."""
        self.peer.send("publish", queue=self._number, messages=messages)
        waiting = Waiting()
        yield waiting
        waiting.answer = self.peer.receive()

    def enter(self) -> str | None:
        """Begin to handle a message; its payload, None if there is none."""
        return self._ask("enter")  # type: ignore[no-any-return]

    def leave(self, payload: str, *, failing: bool = False, place: int = 0) -> list[str]:
        """Finish handling it, of several alike the one at `place`; the warnings that this brought."""
        return self._ask("leave", payload=payload, failing=failing, place=place)  # type: ignore[no-any-return]

    def abandon(self, payload: str, *, place: int = 0) -> None:
        """Never finish handling it."""
        self._ask("abandon", payload=payload, place=place)

    def handle(self, count: int, *, failing: bool = False) -> list[str | None]:
        """Handle so many messages, one after the other; their payloads."""
        payloads = []
        for _ in range(count):
            payloads.append(self.enter())
            if payloads[-1] is not None:
                self.leave(payloads[-1], failing=failing)
        return payloads

    def lose(self, count: int) -> None:
        """Lose the next replies of the server."""
        self._ask("lose", count=count)

    def call(self, method: str, *args: Any, of: str = "queue", **kwargs: Any) -> Any:
        """What a method of the queue, or `of` its "gateway", returned, bytes as text."""
        return self._ask("call", of=of, method=method, args=args, kwargs=kwargs)

    def drain(self) -> bool:
        """What `drain()` returned."""
        return self._ask("drain")  # type: ignore[no-any-return]
