"""How others reach a worker: its probes and metrics over HTTP, its control socket."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from redisqueue_worker.control import ControlServer
from redisqueue_worker.health import HealthServer
from redisqueue_worker.metrics import VARIABLE
from redisqueue_worker.restart import inherited_listener
from redisqueue_worker.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from redisqueue_worker.metrics import Metrics
    from redisqueue_worker.metrics_page import SlotMetrics
    from redisqueue_worker.settings import Settings
    from redisqueue_worker.shutdown import Drain, Event


log = logging.getLogger(__name__)


class PlatformError(Exception):
    """Something around the process is not as the settings say: a port in use, a folder not writable."""


class Doors:
    """Opens them.

    Args:
        send: hands an event to the worker's main loop.
        look: where the worker stands, and how many messages it has in flight.
        stacks: tells where its handlers stand.

    Attributes:
        health: None where there is no port.
        succession: None where the run directory is not this worker's.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        live: Callable[[], list[str]],
        ready: Callable[[], bool],
        send: Callable[[Event], None],
        look: Callable[[], tuple[Drain, int]],
        stacks: Callable[[], Iterator[str]],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._live = live
        self._ready = ready
        self._send = send
        self._look = look
        self._stacks = stacks
        self.health: HealthServer | None = None
        self.succession: Succession | None = None

    def open(self, exits: ExitStack) -> None:
        """Open what the settings want, to be closed by `exits`.

        Raises PlatformError for a port or folder that cannot be had although it was asked for.
        """
        if self._settings.http_port:
            self._open_health(exits)
        self._open_control(exits)

    def slot_metrics(self) -> SlotMetrics | None:
        """What handlers in process slots tell goes on our page, if there is one."""
        if self.health is None and VARIABLE not in os.environ:
            return None
        from redisqueue_worker.metrics_page import SlotMetrics  # noqa: PLC0415  (it takes long)

        run_dir = self._settings.run_dir if self.succession else None
        try:
            return SlotMetrics.registered(run_dir, os.environ)
        except OSError as error:
            log.warning("no metrics of handlers: there is no folder for them", extra={"reason": str(error)})
            return None

    def _page(self) -> Callable[[], tuple[str, str]]:
        from redisqueue_worker.metrics_page import Page  # noqa: PLC0415  (it takes long)

        return Page(self._metrics, queue=self._settings.queue)

    def _open_health(self, exits: ExitStack) -> None:
        settings = self._settings
        try:
            self.health = HealthServer(
                settings.http_host,
                settings.http_port,
                live=self._live,
                ready=self._ready,
                page=self._page,
                listener=inherited_listener(),
            )
        except OSError as error:
            problem = (
                f"REDISQUEUE_HTTP_HOST (--http-host) and REDISQUEUE_HTTP_PORT (--http-port): "
                f"'{settings.http_host}' port {settings.http_port}: {error.strerror}"
            )
            if settings.http_port_required:
                raise PlatformError(problem) from error
            log.warning("no probes and no metrics: choose another port, or 0", extra={"reason": problem})
        else:
            exits.callback(self.health.close)

    def _open_control(self, exits: ExitStack) -> None:
        settings = self._settings
        try:
            control = ControlServer(settings.run_dir, self._send, self._look, self._stacks)
        except OSError as error:
            problem = f"REDISQUEUE_RUN_DIR (--run-dir): '{settings.run_dir}': {error.strerror or error}"
            if settings.run_dir_required:
                raise PlatformError(problem) from error
            log.warning(
                "no control socket: 'redisqueue-worker drain' cannot reach this worker",
                extra={"reason": problem},
            )
        else:
            exits.callback(control.close)
            self.succession = Succession(settings.run_dir, settings)
