"""Which process this is, and how others learn that it has ended: by the termination log of its container."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes' own default of `terminationMessagePath`. Kubelet makes it: elsewhere there is none."""
MOST_BYTES = 4096
_TOLD = re.compile(r"^redisqueue-worker instance (\S+)\n?", re.MULTILINE)


def own_name() -> str:
    """Unique, also where several workers share a machine. A process that starts afresh keeps its number."""
    number = os.getpid()
    return socket.gethostname() if number == 1 else f"{socket.gethostname()}-{number}"


def new_instance() -> str:
    """What no other process has or had."""
    return secrets.token_hex(16)


def leave_instance(instance: str) -> None:
    """Who this process is, for whoever sees its container ended. Never an error."""
    _write(f"redisqueue-worker instance {instance}\n")


def leave_last_words(problems: Iterable[str]) -> None:
    """Why a container could not start, where Kubernetes looks for it: the status of its pod quotes it.

    Never an error, also where there is no termination log.
    """
    _write("; ".join(problems))


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        file = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)  # it is not made where nobody reads it
        try:
            os.write(file, text.encode(errors="replace")[:MOST_BYTES])
        finally:
            os.close(file)


def read_words(message: str) -> tuple[str, str]:
    """What a termination message says: the instance, empty where none is named, and the rest."""
    told = _TOLD.search(message)
    return (told[1], message[: told.start()] + message[told.end() :]) if told else ("", message)
