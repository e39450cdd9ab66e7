"""One worker of local mode: a process that is started, watched, started again when it dies, and drained."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.decide.children.identity import digest
from redisqueue_operator.observe.facts import PodObservation
from redisqueue_worker.embedded_redis import free_port
from redisqueue_worker.identity import new_instance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

READY_POLL_SECONDS = 0.1
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a process that ran so long starts its backoff anew, as kubelet does after ten minutes
LONGEST_LINE_BYTES = 1 << 20


@dataclass(frozen=True)
class WorkerTemplate:
    """What every worker of one generation has in common: local mode's pod template."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    grace_seconds: float
    probed: bool = True
    """Whether it answers /readyz; a command of the user's own counts as ready once it runs."""

    @property
    def digest(self) -> str:
        """Ten characters that change with the template."""
        return digest([self.command, dict(self.environment), self.grace_seconds, self.probed])


@dataclass(eq=False)
class WorkerProcess:
    """A worker by name. `start` it once, `stop` it once; between the two it is kept alive."""

    name: str
    uid: str
    template: WorkerTemplate
    run_dir: Path
    changed: Callable[[], None]
    """Called after it got ready, died or ended."""
    ended_as: Callable[[str], None]
    """Called with the instance of each of its processes that has ended."""
    say: Callable[[str, str], None]
    """Called with its name and each line that it prints."""
    ready: bool = False
    terminating: bool = False
    failing: str = ""
    gone: bool = False
    """It ended and will not come back."""
    restarts: int = 0
    born: float = field(default_factory=time.monotonic)
    last_line: str = ""
    _process: asyncio.subprocess.Process | None = None
    _life: asyncio.Task[None] | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        """Begin its life as a task of the running event loop."""
        self._life = asyncio.create_task(self._live(), name=f"worker {self.name}")

    def stop(self) -> None:
        """Ask it to drain and end (SIGTERM); SIGKILL follows after the template's grace period."""
        self.terminating = True
        self._stopping.set()

    async def ended(self) -> None:
        """Wait until its process is gone for good."""
        if self._life is not None:
            await asyncio.wait([self._life])

    def kill(self) -> None:
        """End it for good and at once, without a drain."""
        self.stop()
        self.kill_process()

    def kill_process(self) -> None:
        """End its present process as a crash would: the worker starts another one."""
        self._signal(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        """Its present process; None while none runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def pod(self) -> PodObservation:
        """The worker as the engine sees pods."""
        age = time.monotonic() - self.born
        return PodObservation(self.name, self.uid, self.ready, self.terminating, age, False, self.failing)

    async def _live(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self.terminating:
            begun = time.monotonic()
            failure = await self._run_once()
            self.ready = False
            if self.terminating:
                break
            backoff = FIRST_BACKOFF_SECONDS if time.monotonic() - begun > STEADY_SECONDS else backoff
            self.restarts += 1
            self.failing = "CrashLoopBackOff"
            self.say(
                self.name,
                f"{failure}; starts again in {backoff:g} s; its last words: {self.last_line or '-'}",
            )
            self.changed()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)
        self.gone = True
        self.changed()

    async def _run_once(self) -> str:
        """Run the process to its end; return what became of it, for a person."""
        port, instance = free_port() if self.template.probed else 0, new_instance()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        own = {
            "REDISQUEUE_WORKER_ID": self.name,
            "REDISQUEUE_INSTANCE": instance,
            "REDISQUEUE_POD_UID": self.uid,
            "REDISQUEUE_RUN_DIR": str(self.run_dir),
            "REDISQUEUE_HTTP_HOST": "127.0.0.1",
            "REDISQUEUE_HTTP_PORT": str(port),
        }
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.template.command,
                env={**inherited_environment(), **self.template.environment, **own},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the whole process group: a worker is to be drained instead.
                start_new_session=True,
                limit=LONGEST_LINE_BYTES,
            )
        except OSError as error:
            return f"cannot be started: {error}"
        helpers = [
            asyncio.create_task(self._end_when_asked()),
            asyncio.create_task(self._await_ready(port)),
            asyncio.create_task(self._await_end(self._process, instance)),
        ]
        try:
            await self._read_lines(self._process)
            code = await self._process.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._signal(signal.SIGKILL)
            if self._process.returncode is not None:
                self.ended_as(instance)
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def _read_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  (asked for above)
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # longer than the limit: the reader has dropped it
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self.last_line = text or self.last_line
            self.say(self.name, text)

    async def _end_when_asked(self) -> None:
        await self._stopping.wait()
        self._signal(signal.SIGTERM)
        await asyncio.sleep(self.template.grace_seconds)
        self.say(self.name, f"did not end within {self.template.grace_seconds:g} s: killed")
        self._signal(signal.SIGKILL)

    async def _await_end(self, process: asyncio.subprocess.Process, instance: str) -> None:
        """Tell of its end at once: what it started may hold its output open for a while."""
        await process.wait()
        self._signal(signal.SIGKILL)
        self.ended_as(instance)
        self.changed()

    async def _await_ready(self, port: int) -> None:
        if port:
            await ready_answer(port)
        self.ready = True
        self.failing = ""
        self.changed()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process; SIGKILL goes to its whole session, so that nothing it started survives it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)
            elif self._process.returncode is None:
                self._process.send_signal(number)


def inherited_environment() -> dict[str, str]:
    """This process' environment without REDISQUEUE_…: a worker's settings come from its resource alone."""
    return {name: value for name, value in os.environ.items() if not name.startswith("REDISQUEUE_")}


async def ready_answer(port: int) -> None:
    """Wait until a worker on this loopback port says that it is ready."""
    while not await answers_ready(port):  # noqa: ASYNC110  (another process: there is no event to await)
        await asyncio.sleep(READY_POLL_SECONDS)


async def answers_ready(port: int) -> bool:
    """Whether a worker on this loopback port says that it is ready."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]
