"""`redisqueue-worker drain`, `resume`, `stacks` and `drain --status`: ask the worker of this container.

A preStop hook runs this while the clock of the pod's end ticks: it imports next to nothing, so that it
starts at once, and `drain` always exits with 0, because a hook that fails helps nobody.
"""

from __future__ import annotations

import os
import socket
import sys
import time

TYPE_CHECKING = False  # as type checkers know it, see the package
if TYPE_CHECKING:
    from collections.abc import Iterator

# The worker gives up at its own deadline; only then does the client stop waiting for it.
_MARGIN_SECONDS = 5.0


def main(
    command: str,
    *,
    run_dir: str | None = None,
    timeout_seconds: float | None = None,
    as_json: bool = False,
) -> int:
    """Send `command` (drain, resume, status or stacks), print what the worker says, return the exit code.

    Args:
        run_dir: the folder of `worker.sock`; REDISQUEUE_RUN_DIR when None.
        timeout_seconds: how long to wait; the drain timeout and a little more when None.
        as_json: print stacks as one list.
    """
    path = os.path.join(run_dir or os.environ.get("REDISQUEUE_RUN_DIR") or "/run/redisqueue", "worker.sock")
    if timeout_seconds is None:
        timeout_seconds = _drain_timeout() + _MARGIN_SECONDS if command == "drain" else _MARGIN_SECONDS
    try:
        deadline = time.monotonic() + timeout_seconds
        if command == "stacks":
            return _tell_stacks([*_lines(path, command, deadline)], as_json=as_json)
        last = _converse(path, command, deadline)
    except TimeoutError:
        going_on = "; the worker goes on draining" if command == "drain" else ""
        last = f"error: no end after {timeout_seconds:g} s{going_on}"
        print(last, flush=True)
    except OSError as error:
        last = f"error: no worker listens at '{path}' ({error.strerror or error})"
        print(last, flush=True)
    return 0 if command == "drain" or not last.startswith("error") else 1


def _converse(path: str, command: str, deadline: float) -> str:
    """The last line that the worker said. Raises TimeoutError at the deadline, OSError without a worker."""
    last = ""
    for last in _lines(path, command, deadline):
        print(last, flush=True)
    if command == "drain" and not last.startswith(("drained", "resumed", "stopped")):
        last = "stopped: the worker has gone"
        print(last, flush=True)
    return last


def _lines(path: str, command: str, deadline: float) -> Iterator[str]:
    """What the worker says, as it says it. Raises as `_converse`."""
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
                return
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                yield line.decode()


def _tell_stacks(lines: list[str], *, as_json: bool) -> int:
    """Print where handlers stand, for a person or as JSON; the exit code."""
    import json  # noqa: PLC0415  (a drain needs none)

    if lines and lines[0].startswith("error"):  # an older worker
        print(lines[0])
        return 1
    found = [json.loads(line) for line in lines]
    if as_json:
        print(json.dumps(found))
        return 0
    for one in found:
        where = f"{one['slot']} {one['pid']}" if one["pid"] else one["slot"] or "waits for a slot"
        print(f"{one['message_id']}  {one['seconds']:.1f} s  {where}")
        told = one["stack"]
        if told is None and one["pid"]:
            told = ["  no answer: native code holds the interpreter, or its handler ends just now"]
        print(*(told or []), sep="\n", end="\n" if told else "")
    if not found:
        print("no message in hand")
    return 0


def _drain_timeout() -> float:
    try:
        return float(os.environ.get("REDISQUEUE_DRAIN_TIMEOUT_SECONDS") or 300)
    except ValueError:
        print("REDISQUEUE_DRAIN_TIMEOUT_SECONDS is not a number: waiting for 300 s", file=sys.stderr)
        return 300.0
