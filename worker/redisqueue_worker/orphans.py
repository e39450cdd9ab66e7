"""No process is left behind: process 1 of a container reaps, a small guard kills, and before an exec all end.

Process 1 passes signals on to the worker and reaps what nobody else does. A worker that were process 1
itself could not tell orphans from its handlers' own children, whose exit codes they want to know. So the
worker is a child of this one, which ends with the worker's exit code; the kernel then ends whatever is left
in the container.

Elsewhere a guard sees to it, also when the worker is killed. It is this file run as `python orphans.py FD
MARK`: FD reads a pipe whose other end the guarded process alone holds, and MARK is an environment variable
of all that it starts. What is merely forked has FD open instead, and so has what is started with `marks`:
some programs write over their environment. Both are small: at the top stands nothing but the standard
library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

# Of the kernel's about the process itself; all others are meant for the worker.
_OWN = {signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU, signal.SIGKILL, signal.SIGSTOP}


def become_init() -> int | None:
    """Fork: None in the child, which shall do the work; in the parent its exit code, once it has ended."""
    everything = signal.valid_signals()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, everything)  # none is lost between the two
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)  # or Ctrl-C in a terminal would come twice
        with contextlib.suppress(OSError):
            os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return None
    while True:
        number = signal.sigwait(everything)
        if number == signal.SIGCHLD:
            if (code := _reap(child)) is not None:
                return code
        elif number not in _OWN:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)


def _reap(child: int) -> int | None:
    """Take in every process that has ended; if the child is among them its exit code, as a shell tells it."""
    code = None
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return 128 - code if code is not None and code < 0 else code


PATIENCE_SECONDS = 10.0
ROUND_SECONDS = 0.02


_marks: list[int] = []
_own_marks: set[str] = set()


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
    mark = f"_REDISQUEUE_ENDS_WITH_{os.urandom(8).hex()}"
    listened_to, held = os.pipe()
    child = os.fork()
    if child == 0:
        _become_guard([sys.executable, "-I", "-S", __file__, str(listened_to), mark], listened_to, held)
    os.waitpid(child, 0)
    _Lifeline(held)
    _marks.append(listened_to)
    _own_marks.add(mark)
    os.environ[mark] = "1"


def unmarked_environment() -> dict[str, str]:
    """The environment without this process's mark: whoever takes its place does not end with it."""
    return {name: value for name, value in os.environ.items() if name not in _own_marks}


def _become_guard(command: list[str], listened_to: int, held: int) -> None:
    """In a child: start the guard in a session of its own and leave. Nobody waits for Python to start.

    What is guarded has no child of which it does not know, so it is that of a child that has ended.
    """
    try:
        os.setsid()
        if os.fork() == 0:
            os.close(held)
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            os.set_inheritable(listened_to, True)
            os.execv(command[0], command)  # noqa: S606  (ourselves)
    finally:
        os._exit(0)


def main(descriptor: int, mark: str) -> None:
    """Wait until the pipe ends, then kill all that bears the mark."""
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


def end_descendants(patience_seconds: float) -> int:
    """End the children of this process and theirs: by SIGTERM, and by SIGKILL after `patience_seconds`.

    An exec would keep them as children of nobody.

    Returns how many there were; 0 where there is no /proc.
    """
    from redis_message_queue._clock import monotonic  # noqa: PLC0415  (the guard itself must be small)

    found = _descendants()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = monotonic() + patience_seconds
        for pid in _descendants():
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        while _left() and monotonic() < deadline:
            time.sleep(ROUND_SECONDS)
    return len(found)


def _left() -> set[int]:
    """Those that still run; own children that have ended are reaped."""
    left = _descendants()
    for pid in left:
        with contextlib.suppress(OSError):  # another's child, or reaped by whoever waits for it
            os.waitpid(pid, os.WNOHANG)
    return left


def _descendants() -> set[int]:
    parents = dict(_parents())
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _parents() -> list[tuple[int, int]]:
    """Each process that runs and its parent's id."""
    known = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                known.append((int(name), int(file.read().rpartition(")")[2].split()[1])))
    return known


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
