"""Local mode's Deployment, with real processes that know nothing of queues."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_operator.local.worker_process import WorkerTemplate
from redisqueue_operator.local.worker_set import WorkerSet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SLEEP = (
    "import os, time; print('instance', os.environ['REDISQUEUE_INSTANCE']);"
    " print('up', flush=True); time.sleep(60)"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP


def template(code: str = SLEEP, grace_seconds: float = 5.0) -> WorkerTemplate:
    return WorkerTemplate((sys.executable, "-c", code), {}, grace_seconds, probed=False)


class Watched:
    """A set whose changes and lines can be waited for."""

    def __init__(self, first: WorkerTemplate, folder: Path) -> None:
        self.lines: list[str] = []
        self.happened = asyncio.Event()
        self.least_live = 99
        self.set = WorkerSet("q", first, folder, changed=self._changed, say=self._say)

    def _changed(self) -> None:
        self.least_live = min(self.least_live, self.live)
        self.happened.set()

    def _say(self, worker: str, line: str) -> None:
        self.lines.append(f"{worker} {line}")
        self.happened.set()

    @property
    def live(self) -> int:
        return sum(not worker.terminating for worker in self.set.workers)

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not reached():
                self.happened.clear()
                await self.happened.wait()

    async def up(self, count: int) -> None:
        """Wait until `count` workers run, their code included."""
        await self.until(lambda: sum(line.endswith(" up") for line in self.lines) >= count)
        await self.until(lambda: self.set.fleet.ready_replicas == count)


@asynccontextmanager
async def watched(folder: Path, first: WorkerTemplate | None = None) -> AsyncIterator[Watched]:
    result = Watched(first or template(), folder)
    try:
        yield result
    finally:
        result.set.kill()
        await result.set.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(watch: Watched) -> list[int]:
    return [worker.pid for worker in watch.set.workers if worker.pid is not None]


def instances(watch: Watched) -> list[str]:
    return [line.split()[-1] for line in watch.lines if " instance " in line]


async def test_it_runs_as_many_as_asked_and_lets_the_victims_go_first(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        assert watch.set.fleet.replicas == 0
        watch.set.scale(3, ())
        await watch.up(3)
        names = [worker.name for worker in watch.set.workers]
        watch.set.scale(1, (names[1], names[0]))
        await watch.until(lambda: len(watch.set.workers) == 1)
        assert [worker.name for worker in watch.set.workers] == [names[2]]


async def test_without_victims_the_youngest_goes(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        watch.set.scale(1, ())
        await watch.up(1)
        oldest = watch.set.workers[0].name
        watch.set.scale(2, ())
        await watch.up(2)
        watch.set.scale(1, ())
        await watch.until(lambda: len(watch.set.workers) == 1)
        assert watch.set.workers[0].name == oldest


async def test_a_dead_worker_is_started_again_under_its_name(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        watch.set.scale(1, ())
        await watch.up(1)
        worker, first = watch.set.workers[0], pids(watch)
        worker.kill_process()
        await watch.until(lambda: worker.failing == "CrashLoopBackOff")
        assert not worker.ready
        await watch.until(lambda: worker.ready)
        assert worker.failing == ""
        assert worker.restarts == 1
        assert pids(watch) != first
        assert any("died of SIGKILL; starts again in 0.5 s" in line for line in watch.lines)
        # The fleet names the dead process, as that knew itself, and not the one that runs.
        await watch.until(lambda: len(instances(watch)) == 2)
        before, now = instances(watch)
        assert watch.set.fleet.ended == (before,)
        assert before != now


async def test_a_command_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    nowhere = WorkerTemplate(("/nowhere/to/be/found",), {}, 1.0, probed=False)
    async with watched(tmp_path, nowhere) as watch:
        watch.set.scale(1, ())
        await watch.until(lambda: any("cannot be started" in line for line in watch.lines))
        assert watch.set.fleet.pods[0].failing == "CrashLoopBackOff"


async def test_a_new_template_replaces_all_and_never_runs_short(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        watch.set.scale(3, ())
        await watch.up(3)
        old = {worker.name for worker in watch.set.workers}
        watch.least_live = 99
        watch.set.roll(template(SLEEP + " # changed"))
        assert watch.set.fleet.active_replica_sets == 2
        await watch.until(
            lambda: len(watch.set.workers) == 3 and not old & {w.name for w in watch.set.workers}
        )
        assert watch.least_live >= 3
        assert watch.set.fleet.active_replica_sets == 1


async def test_a_rollout_with_nobody_running_starts_nobody(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        watch.set.roll(template(SLEEP + " # changed"))
        assert watch.set.workers == []
        assert watch.set.fleet.active_replica_sets == 1


async def test_who_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    async with watched(tmp_path, template(STUBBORN, grace_seconds=0.2)) as watch:
        watch.set.scale(1, ())
        await watch.up(1)
        (pid,) = pids(watch)
        await watch.set.close()
        assert not alive(pid)
        assert any("did not end within 0.2 s: killed" in line for line in watch.lines)


async def test_closing_ends_every_process(tmp_path: Path) -> None:
    async with watched(tmp_path) as watch:
        watch.set.scale(2, ())
        await watch.up(2)
        running = pids(watch)
        await watch.set.close()
        assert len(running) == 2
        assert not any(alive(pid) for pid in running)


@pytest.mark.parametrize("change", ["command", "environment", "grace"])
def test_every_part_of_a_template_counts(change: str) -> None:
    other = {
        "command": template("pass"),
        "environment": WorkerTemplate(template().command, {"A": "1"}, 5.0, probed=False),
        "grace": template(grace_seconds=6.0),
    }[change]
    assert other.digest != template().digest
    assert template().digest == template().digest
