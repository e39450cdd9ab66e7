"""`redisqueue-worker drain`, `resume` and `drain --status`: ask the worker of this machine or container.

A preStop hook runs this while the clock of the pod's end ticks: it imports next to nothing, so that it
starts at once, and `drain` always exits with 0, because a hook that fails helps nobody.
"""

from __future__ import annotations

import os
import socket
import sys
import time

# The worker gives up at its own deadline; only then does the client stop waiting for it.
_MARGIN_SECONDS = 5.0


def main(command: str, *, run_dir: str | None = None, timeout_seconds: float | None = None) -> int:
    """Send `command` (drain, resume or status), print what the worker says, and return the exit code.

    Args:
        run_dir: the folder of `worker.sock`; REDISQUEUE_RUN_DIR when None.
        timeout_seconds: how long to wait; the drain timeout and a little more when None.
    """
    path = os.path.join(run_dir or os.environ.get("REDISQUEUE_RUN_DIR") or "/run/redisqueue", "worker.sock")
    if timeout_seconds is None:
        timeout_seconds = _drain_timeout() + _MARGIN_SECONDS if command == "drain" else _MARGIN_SECONDS
    try:
        last = _converse(path, command, time.monotonic() + timeout_seconds)
    except TimeoutError:
        last = f"error: no end after {timeout_seconds:g} s; the worker goes on draining"
        print(last, flush=True)
    except OSError as error:
        last = f"error: no worker listens at '{path}' ({error.strerror or error})"
        print(last, flush=True)
    return 0 if command == "drain" or not last.startswith("error") else 1


def _converse(path: str, command: str, deadline: float) -> str:
    """The last line that the worker said. Raises TimeoutError at the deadline, OSError without a worker."""
    last = ""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_MARGIN_SECONDS)
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        rest = b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            received = connection.recv(4096)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                last = line.decode()
                print(last, flush=True)
    if command == "drain" and not last.startswith(("drained", "resumed", "stopped")):
        last = "stopped: the worker has gone"
        print(last, flush=True)
    return last


def _drain_timeout() -> float:
    try:
        return float(os.environ.get("REDISQUEUE_DRAIN_TIMEOUT_SECONDS") or 300)
    except ValueError:
        print("REDISQUEUE_DRAIN_TIMEOUT_SECONDS is not a number: waiting for 300 s", file=sys.stderr)
        return 300.0
