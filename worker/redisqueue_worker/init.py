"""Process 1 of a container: passes signals on to the worker and reaps what nobody else does.

A worker that were process 1 itself could not tell orphans from its handlers' own children, whose exit
codes they want to know. So the worker is a child of this one, which ends with the worker's exit code;
the kernel then ends whatever is left in the container.
"""

from __future__ import annotations

import contextlib
import os
import signal

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
