"""What `match_process` starts: it reads what to match, then batches, and answers a byte for each payload.

It imports next to nothing, because several may run beside the operator.
"""

from __future__ import annotations

import contextlib
import marshal
import resource
import signal
import sys

from redisqueue_operator.redrive.match import Match

LAST_SECONDS = 60
# The container's memory is the operator's, too: where that ends, the kernel would end both.
MOST_BYTES = 96 << 20


def serve() -> None:
    """Answer batches until the other side goes, or there is no memory for one."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    with contextlib.suppress(EOFError, MemoryError):
        match = Match(*marshal.load(sys.stdin.buffer))  # noqa: S302 - from our own parent
        while True:
            payloads = [sys.stdin.buffer.read(size) for size in marshal.load(sys.stdin.buffer)]  # noqa: S302
            signal.alarm(LAST_SECONDS)  # if the other side is killed meanwhile, nobody else ends this
            sys.stdout.buffer.write(bytes(match(payloads)))
            sys.stdout.buffer.flush()
            signal.alarm(0)


if __name__ == "__main__":
    serve()
