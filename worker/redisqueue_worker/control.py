"""The worker's end of the control socket: drain, resume, status and stacks for whoever may enter the pod.

A Unix socket and not HTTP, so that nobody on the network can stop a worker. One word comes in, lines of
plain text go out until there is no more to tell; see `control_client` for the other end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from redis_message_queue._clock import monotonic
from redisqueue_worker.shutdown import Drain, Event, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_LOOK_SECONDS = 0.05
_TELL_SECONDS = 1.0
_SETTLE_SECONDS = 0.5  # a command is a message to the main loop: its effect is seen a moment later


class ControlServer:
    """Listens on `<folder>/worker.sock` until `close`.

    Args:
        folder: created if it is not there.
        send: hands an event to the worker's main loop.
        look: where the worker stands, and how many messages it has in flight.
        stacks: tells where its handlers stand.

    Raises OSError when the socket cannot be had, for instance because another worker owns it.
    """

    def __init__(
        self,
        folder: Path,
        send: Callable[[Event], None],
        look: Callable[[], tuple[Drain, int]],
        stacks: Callable[[], Iterator[str]],
    ) -> None:
        self.path = folder / "worker.sock"
        self._send = send
        self._look = look
        self._stacks = stacks
        self._listener = _listen(self.path)
        threading.Thread(target=self._serve, name="control", daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._listener.fileno() < 0:  # closed
                    return
                time.sleep(_LOOK_SECONDS)  # there is no descriptor left, which may pass
                continue
            try:
                threading.Thread(
                    target=self._answer, args=(connection,), name="control-client", daemon=True
                ).start()
            except RuntimeError:  # there is no thread to be had: who asked is not kept waiting
                connection.close()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client may leave at any time
            connection.settimeout(5)
            word = connection.recv(64).decode(errors="replace").strip()
            answers = {
                "drain": self._drain,
                "resume": self._resume,
                "status": self._status,
                "stacks": self._stacks,
            }
            answer = answers.get(word)
            lines = answer() if answer else iter((f"error: {word!r} is none of {', '.join(answers)}",))
            for line in lines:
                connection.sendall(f"{line}\n".encode())

    def _status(self) -> Iterator[str]:
        yield _described(*self._look())

    def _drain(self) -> Iterator[str]:
        self._send(Event.DRAIN)
        told = 0.0
        while True:
            state, in_flight = self._look()
            if state.phase in (Phase.DRAINED, Phase.STOPPED):
                yield _described(state, in_flight)
                return
            now = monotonic()
            if told and state.phase is Phase.RUNNING:
                yield "resumed: the worker is claiming messages again"
                return
            if state.phase is Phase.DRAINING and now >= told + _TELL_SECONDS:
                told = now
                yield _described(state, in_flight)
            time.sleep(_LOOK_SECONDS)

    def _resume(self) -> Iterator[str]:
        self._send(Event.RESUME)
        deadline = monotonic() + _SETTLE_SECONDS
        while (state := self._look()[0]).phase is not Phase.RUNNING and monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        if state.phase is Phase.RUNNING:
            yield "running"
        else:
            yield f"error: a drain by {state.cause} cannot be taken back"


def _described(state: Drain, in_flight: int) -> str:
    words = [f"{state.phase}", f"in_flight={in_flight}"]
    if state.cause:
        words.append(f"reason={state.cause}")
    remaining = state.remaining_seconds(monotonic())
    if remaining is not None and state.phase is Phase.DRAINING:
        words.append(f"remaining_seconds={remaining:.0f}")
    return " ".join(words)


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        mask = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Unlink the socket of a worker that is gone. Raises FileExistsError when one answers."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
            return
    raise FileExistsError(f"another worker listens at '{path}'")
