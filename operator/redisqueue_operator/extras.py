"""Which extra of the package a missing module belongs to: told in one line instead of a traceback."""

from __future__ import annotations

import sys

_OURS = ("redis_message_queue", "redisqueue_operator", "redisqueue_worker")


def way_out(missing: ModuleNotFoundError, extra: str) -> str:
    """What to install. Raises the error again when a module of our own is missing: no extra brings that."""
    package = (missing.name or "").partition(".")[0]
    if package in _OURS or not package:
        raise missing
    install = f"pip install 'redis-queue-operator[{extra}]'"
    return f"needs the extra '{extra}', {package} is not installed: {install}"


def operator() -> int:
    """The command `redisqueue-operator`."""
    try:
        from redisqueue_operator.main import main  # noqa: PLC0415 - what it imports may be missing
    except ModuleNotFoundError as missing:
        print(f"redisqueue-operator: {way_out(missing, 'operator')}", file=sys.stderr)
        return 2
    return main()
