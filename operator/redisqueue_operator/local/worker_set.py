"""The workers of one queue: as many as asked for, of the newest template. Local mode's Deployment."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from functools import partial
from typing import TYPE_CHECKING

from redisqueue_operator.local.worker_process import WorkerProcess
from redisqueue_operator.observe.ends import remember
from redisqueue_operator.observe.facts import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from redisqueue_operator.local.worker_process import WorkerTemplate


class WorkerSet:
    """Keeps `replicas` workers of `template` running; a new template replaces them one by one, by drain.

    `run_dir` holds one short-named folder per worker: a Unix socket's path has little room.
    """

    def __init__(
        self,
        name: str,
        template: WorkerTemplate,
        run_dir: Path,
        *,
        changed: Callable[[], None],
        say: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.template = template
        self.replicas = 0
        self.workers: list[WorkerProcess] = []
        self._run_dir = run_dir
        self._born = 0
        self._ended: dict[str, None] = {}
        self._changed = changed
        self._say = say

    @property
    def fleet(self) -> Fleet:
        """The set as the engine sees it."""
        pods = tuple(worker.pod for worker in self.workers)
        templates = {worker.template.digest for worker in self.workers if not worker.terminating}
        ready = sum(pod.ready and not pod.terminating for pod in pods)
        sets = len(templates | {self.template.digest})
        return Fleet(self.replicas, ready, sets, pods, str(self.replicas), ended=tuple(self._ended))

    def scale(self, replicas: int, victims: Iterable[str]) -> None:
        """Run that many workers; when some must go, `victims` (names) go first."""
        self.replicas = replicas
        self.converge(victims)

    def roll(self, template: WorkerTemplate) -> None:
        """Replace every worker by one of this template; nothing happens when it is the current one."""
        if template.digest != self.template.digest:
            self.template = template
            self.converge()

    def converge(self, victims: Iterable[str] = ()) -> None:
        """Start and stop what is due now. Called at every change, so that a rollout takes its next step."""
        first = list(victims)
        live = [worker for worker in self.workers if not worker.terminating]
        fresh = [worker for worker in live if worker.template.digest == self.template.digest]
        old = [worker for worker in live if worker not in fresh]
        # An old worker leaves when a fresh one is ready in its place; one at a time above the wanted number.
        room = self.replicas + bool(old) - len(live)
        for _ in range(min(room, self.replicas - len(fresh))):
            self._start_one()
        surplus_old = sum(worker.ready for worker in fresh) + len(old) - self.replicas
        leaving = leaving_order(old, first)[: max(0, surplus_old)]
        leaving += leaving_order(fresh, first)[: max(0, len(fresh) - self.replicas)]
        for worker in leaving:
            worker.stop()
        if leaving and old:
            self.converge()  # the next replacement starts while this one drains

    async def close(self) -> None:
        """Drain every worker and wait for their end."""
        self.replicas = 0
        for worker in self.workers:
            worker.stop()
        await asyncio.gather(*(worker.ended() for worker in self.workers))

    def kill(self) -> None:
        """End every worker at once."""
        for worker in self.workers:
            worker.kill()

    def _start_one(self) -> None:
        self._born += 1
        worker = WorkerProcess(
            name=f"{self.name}-worker-{secrets.token_hex(3)}",
            uid=str(uuid.uuid4()),
            template=self.template,
            run_dir=self._run_dir / str(self._born),
            changed=self._on_change,
            ended_as=partial(remember, self._ended),
            say=self._say,
        )
        self.workers.append(worker)
        worker.start()

    def _on_change(self) -> None:
        self.workers = [worker for worker in self.workers if not worker.gone]
        self.converge()
        self._changed()


def leaving_order(workers: Iterable[WorkerProcess], victims: list[str]) -> list[WorkerProcess]:
    """Who leaves first: the victims in their order, then workers that are not ready, then the youngest."""
    place = {name: index for index, name in enumerate(victims)}
    return sorted(
        workers, key=lambda worker: (place.get(worker.name, len(place)), worker.ready, -worker.born)
    )
