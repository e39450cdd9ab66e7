"""Nothing that a process started outlives it, also when it is killed: a small process sees to that.

In a container the end of process 1 does so, and a service manager does; so none is started there.
Run as `python guard.py FD MARK`: FD reads a pipe whose other end the guarded process alone holds, and MARK is
an environment variable of all that it starts. What is merely forked has FD open instead, and so has what
is started with `marks`: some programs write over their environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

PATIENCE_SECONDS = 10.0
ROUND_SECONDS = 0.02


_marks: list[int] = []


def marks() -> tuple[int, ...]:
    """The descriptors to pass to a program that may write over its environment, such as a server."""
    return tuple(_marks)


class _Lifeline:
    """The end of the pipe that only the guarded process may hold."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def end_children_with_me() -> None:
    """From now on all that this process starts ends with it. Call it once, before there are threads."""
    if sys.platform != "linux" or os.getppid() <= 1:
        return
    import secrets  # noqa: PLC0415  (the guard itself must be small)
    import subprocess  # noqa: PLC0415

    mark = f"_REDISQUEUE_ENDS_WITH_{secrets.token_hex(8)}"
    listened_to, held = os.pipe()
    subprocess.run(  # noqa: S603  (ourselves)
        [sys.executable, "-I", "-S", __file__, str(listened_to), mark],
        pass_fds=(listened_to,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )
    _Lifeline(held)
    _marks.append(listened_to)
    os.environ[mark] = "1"


def main(descriptor: int, mark: str) -> None:
    """Wait in the background until the pipe ends, then kill all that bears the mark."""
    if os.fork():
        return  # what is guarded has no child of which it does not know
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while os.read(descriptor, 1):
        pass
    pipe = os.readlink(f"/proc/self/fd/{descriptor}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _kill_all(mark.encode() + b"=", pipe) and time.monotonic() < deadline:
        time.sleep(ROUND_SECONDS)  # until none is left: a dying one may have started another


def _kill_all(mark: bytes, pipe: str) -> bool:
    """Whether there were any."""
    found = [int(name) for name in os.listdir("/proc") if name.isdigit() and _belongs(name, mark, pipe)]
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _belongs(pid: str, mark: bytes, pipe: str) -> bool:
    if int(pid) == os.getpid():
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            if mark in environment.read():
                return True
        descriptors = f"/proc/{pid}/fd"
        return any(os.readlink(f"{descriptors}/{name}") == pipe for name in os.listdir(descriptors))
    except OSError:  # another user's, or it is gone
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
