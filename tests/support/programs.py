"""Programs that a test runs beside itself, or to their end; none is left running."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from redisqueue_worker.embedded_redis import EmbeddedRedis


def output_of(*command: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a program prints; it has to end well."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS * 2,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(*command: str, folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A program that runs on beside the test; a failure shows what it said."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    except BaseException as error:
        error.add_note(f"{command}: {log.read_text()[-4000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()


@contextmanager
def paused(server: EmbeddedRedis) -> Iterator[None]:
    """The server accepts connections, hears everything and answers nothing."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)
