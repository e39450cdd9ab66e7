"""`redisqueue local` on files in a folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def local_mode(folder: Path, file: str, redis_url: str, *words: str) -> Iterator[Path]:
    """Run it in `folder`, and end it by SIGINT; gives the file that has its output."""
    output = folder / "output"
    command = [sys.executable, "-m", "redisqueue_operator.cli", "local", file, "--redis-url", redis_url]
    with output.open("w") as stream:
        process = subprocess.Popen([*command, *words], cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield output
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=PATIENCE_SECONDS) == 130, output.read_text()
