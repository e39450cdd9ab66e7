"""Why a container could not start, where Kubernetes looks for it: the status of its pod quotes it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TERMINATION_LOG = "/dev/termination-log"
"""Kubernetes' own default of `terminationMessagePath`. Kubelet makes it: elsewhere there is none."""
MOST_BYTES = 4096


def leave(problems: Iterable[str]) -> None:
    """Write them down where there is a termination log; never an error."""
    words = "; ".join(problems).encode(errors="replace")[:MOST_BYTES]
    with contextlib.suppress(OSError):
        file = os.open(TERMINATION_LOG, os.O_WRONLY | os.O_TRUNC)  # it is not made where nobody reads it
        try:
            os.write(file, words)
        finally:
            os.close(file)
