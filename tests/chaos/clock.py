"""A clock for Redis that can be stepped, while the machine's own stays as it is.

It is the only clock that matters to messages: leases, delays, turns of priorities and what expires go by the
server's `TIME`. Clients, workers among them, measure by monotonic clocks, which no step reaches.
Both servers of a pair have the same one, so that no failover is a step that nobody knows of.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster import REPOSITORY

from redisqueue_worker.embedded_redis import find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

UNPACK = REPOSITORY / "tests" / "support" / "debian_package"


class ServerClock:
    """`binary` is a server that lives by this clock, which a file in `folder` sets."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.step_to(0.0)
        # Its threads ask for the time too: hence MT. What is monotonic stays so, as with a real step.
        settings = {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        words = ["exec", "env", *(f"{name}={value}" for name, value in settings.items()), find_server()]
        start = folder / "server"
        start.write_text(f'#!/bin/sh\n{shlex.join(words)} "$@"\n')
        start.chmod(0o755)
        self.binary = str(start)

    def step_to(self, ahead_seconds: float) -> None:
        """Set it ahead of the machine's clock by so much, or behind; from then on, no server sees another."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead_seconds:+.1f}\n")
        new.rename(self._file)


def libfaketime() -> Path:
    """The library, of this machine or of Debian's package. Raises RuntimeError when it cannot be had."""
    if found := next(_libraries(Path("/usr/lib")), None):
        return found
    got = subprocess.run([UNPACK, "libfaketime"], stdout=subprocess.PIPE, text=True, check=False)
    if got.returncode or not (found := next(_libraries(Path(got.stdout.strip()) / "usr/lib"), None)):
        raise RuntimeError(
            "libfaketime, which steps the clock of Redis, cannot be had: apt-get install faketime"
        )
    return found


def _libraries(folder: Path) -> Iterator[Path]:
    return folder.glob("*/faketime/libfaketimeMT.so.1")
