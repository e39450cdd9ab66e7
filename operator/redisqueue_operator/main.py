"""`redisqueue-operator`: watch, lead, reconcile, leave cleanly."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import contextlib
import ctypes
import logging
import signal
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, disable_created_metrics

from redisqueue_operator.api import Key
from redisqueue_operator.api.resources import path_of
from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.budget.controller import BudgetController
from redisqueue_operator.budget.shares import Budgets
from redisqueue_operator.budget.status import numbers
from redisqueue_operator.interruptible import first_ended
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.loop.leader import Election, KubernetesLease, LeaseTimes
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_operator.loop.vitals import why_dead
from redisqueue_operator.observe import watch
from redisqueue_operator.observe.cache import REDISQUEUES, Store
from redisqueue_operator.observe.coverage import MISSING, Coverage
from redisqueue_operator.observe.redis.settings import Connections
from redisqueue_operator.observe.references import References
from redisqueue_operator.options import Options, read_options
from redisqueue_operator.redrive.controller import RedriveController
from redisqueue_operator.schedule.controller import ScheduleController
from redisqueue_operator.serve.http import HealthServer
from redisqueue_operator.serve.metrics import OperatorMetrics
from redisqueue_operator.serve.page.history import PageHistory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from redisqueue_operator.observe.redis.letters import Letters

log = logging.getLogger("redisqueue_operator")

LOOK_SECONDS = 1.0
TLS_BUFFER_BYTES = 32 * 1024
"""Of each connection. asyncio's own is 256 KiB, much where hundreds of namespaces are watched."""
OWN_BLOCK_BYTES = 1024 * 1024
"""Memory blocks of this size are the system's again once they are free. glibc would come to keep those of up
to 32 MiB among what is in use: large letters that are redriven would leave their holes."""
_M_MMAP_THRESHOLD = -3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; status 1 when the Lease or the watches are lost, 2 for wrong options."""
    options = read_options(arguments)
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    watch.quiet_logs()
    asyncio.sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    with contextlib.suppress(AttributeError, OSError):  # another libc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, OWN_BLOCK_BYTES)
    # They would be a second series for each counter and histogram.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="redisqueue-") as folder:
        return asyncio.run(Operator(options, Path(folder)).run())


class Parts:
    """All that watches, decides and writes, put together; nothing runs yet."""

    def __init__(
        self,
        api: KubernetesApi,
        options: Options,
        folder: Path,
        metrics: OperatorMetrics,
        page: PageHistory | None,
    ) -> None:
        scope, connect = options.scope, options.allowed_redis_hosts.connect
        self.store, self.coverage = Store(), Coverage(scope)
        references, writer = References(api), Writer(api, instance=options.identity)
        connections = Connections(references, folder, options.allowed_redis_hosts)
        platform = KubernetesPlatform(
            api,
            self.store,
            writer,
            references,
            connections,
            worker_image=options.worker_image,
            worker_pull_secrets=options.worker_pull_secrets,
            version=version("redis-queue-operator"),
            operator=f"{options.own_namespace}/{options.lease_name}",
            scope=scope,
            coverage=self.coverage,
            notify=self.notify,
        )
        budgets = Budgets(unread=scope.namespaces or (None,))
        self.engine = Engine(
            platform,
            wall=api.now,
            resync_seconds=options.resync_seconds,
            metrics=metrics,
            page=page,
            connect=connect,
            budgets=budgets,
        )
        self.budgets = BudgetController(api, writer, budgets, scope)
        self.redrives = RedriveController(api, writer, self.store, connections, connect, scope)
        self.schedules = ScheduleController(api, writer, self.store, connections, connect, scope)
        self.election = Election(
            KubernetesLease(api, options.own_namespace, options.lease_name),
            options.identity,
            LeaseTimes.lasting(options.lease_seconds),
        )
        metrics.follow(lambda: replace(self.engine.vitals(), unreadable=self.coverage.unseen_count))
        metrics.follow_budgets(lambda: {key: numbers(each) for key, each in list(budgets.sharings.items())})
        metrics.follow_redrives(self.redrives.counted)
        metrics.follow_schedules(lambda: self.schedules.ticks)

    def notify(self, key: Key) -> None:
        """Something about this RedisQueue changed."""
        self.engine.notify(key)
        self.redrives.notify(key)
        self.schedules.notify(key)


class Operator:
    """One process from start to end."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._parts: Parts | None = None
        """None until the API server serves RedisQueues."""
        self._told = asyncio.Event()
        self._waits_for = "the API server was not asked yet"
        self._metrics = OperatorMetrics(REGISTRY, version=version("redis-queue-operator"))
        self._page = PageHistory() if options.page_port else None

    async def run(self) -> int:
        """The exit status."""
        options = self._options
        self._catch_signals()
        async with KubernetesApi(self._metrics.api_call) as api:
            health = HealthServer(
                options.port,
                live=self._live,
                ready=self._unready,
                remark=self._remark,
                explain=self._explain,
                registry=REGISTRY,
            )
            # First of all: who waits for an API server that is away is alive, and needs no new start.
            async with health:
                log.info("serving /livez, /readyz and /metrics on port %d", health.bound_port)
                async with self._page_served():
                    return await self._lead(api) if await self._until_served(api) else 0

    @contextlib.asynccontextmanager
    async def _page_served(self) -> AsyncIterator[None]:
        """The page to look at, where it is wanted."""
        options = self._options
        if self._page is None:
            yield
            return
        from redisqueue_operator.serve.page.server import PageServer  # noqa: PLC0415 - off, it costs nothing

        server = PageServer(
            options.page_port,
            hosts=options.page_hosts,
            history=self._page,
            explain=lambda key: self._explain(key.namespace, key.name),
            letters=self._letters,
            unready=self._shows_nothing,
            foot=f"redisqueue-operator {version('redis-queue-operator')}, {options.identity}",
        )
        async with server:
            reach = ", ".join(options.page_hosts) or "the loopback address alone"
            log.info("serving the page on port %d, for %s", server.bound_port, reach)
            yield

    def _catch_signals(self) -> None:
        """Also before there is anything to end: process 1 has no default action for a signal."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)

    async def _until_served(self, api: KubernetesApi) -> bool:
        """Wait until the API server answers and knows RedisQueues; False when told to leave meanwhile."""
        while not self._told.is_set():
            known = await served(api)
            if known:
                self._waits_for = ""
                return True
            waits_for = "the API server does not answer" if known is None else MISSING
            if waits_for != self._waits_for:
                log.error("%s: waiting for it", waits_for)
            self._waits_for = waits_for
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._told.wait()
        return False

    async def _lead(self, api: KubernetesApi) -> int:
        """Watch and reconcile until told to leave, or until that cannot be done any more; the exit status."""
        options = self._options
        parts = Parts(api, options, self._folder, self._metrics, self._page)
        self._parts = parts
        stopped, stop_watching, watching = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # Watches run in every replica, so that a standby is warm; only the leader decides and writes.
        watches = asyncio.create_task(
            watch.watch(
                parts.store,
                parts.notify,
                parts.engine.resync_soon,
                options.scope,
                stop_watching,
                watching,
                parts.coverage,
            )
        )
        await _first_of(watches, asyncio.create_task(watching.wait()))
        self._catch_signals()  # kopf has installed its own
        leading = asyncio.create_task(self._reign(parts, stopped))
        await _first_of(watches, leading, asyncio.create_task(self._told.wait()))
        # First our own tasks, then kopf: it cancels at its end whatever was started after it.
        stopped.set()
        if not parts.election.holding:
            leading.cancel()
        outcomes = list(await asyncio.gather(leading, return_exceptions=True))
        await parts.election.release()
        stop_watching.set()
        outcomes += await asyncio.gather(watches, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.error("ended by %s: %s", type(outcome).__name__, outcome)
        return 0 if self._told.is_set() else 1

    async def _reign(self, parts: Parts, stop: asyncio.Event) -> None:
        """Wait for the Lease, then reconcile until it is lost, `stop` is set or any part of it ends."""
        await parts.election.acquire()
        self._metrics.leading(True)
        try:
            controllers = (each.run() for each in (parts.redrives, parts.budgets, parts.schedules))
            await first_ended(parts.election.hold(), parts.engine.run(stop), *controllers)
        finally:
            self._metrics.leading(False)

    def _explain(self, namespace: str, name: str) -> list[str] | None:
        return self._parts.engine.explain(Key(namespace, name)) if self._parts is not None else None

    async def _letters(self, key: Key) -> Mapping[str, Letters]:
        return await self._parts.engine.letters(key) if self._parts is not None else {}

    def _shows_nothing(self) -> str:
        """Why this process has nothing to show; empty while it leads."""
        if self._parts is None:
            return f"The operator starts: {self._waits_for or 'the watches have not started'}."
        election = self._parts.election
        if election.holding:
            return ""
        pod = election.holder.rpartition("_")[0]
        if not pod:
            return "No operator leads yet: this one waits for the Lease."
        namespace, port = self._options.own_namespace, self._options.page_port
        return (
            f"This operator stands by, {pod} leads and has the page: "
            f"kubectl port-forward -n {namespace} pod/{pod} {port}"
        )

    def _live(self) -> str:
        return why_dead(self._parts.engine.vitals()) if self._parts is not None else ""

    def _unready(self) -> str:
        if self._waits_for or self._parts is None:
            return self._waits_for or "the watches have not started"
        return self._parts.coverage.unready()

    def _remark(self) -> str:
        return self._parts.coverage.unseen() if self._parts is not None else ""


async def _first_of(*tasks: asyncio.Task[Any]) -> None:
    """Wait for one of them; the last one is only there to be waited for."""
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks[-1].cancel()


async def served(api: KubernetesApi) -> bool | None:
    """Whether the API server serves RedisQueues; None when it does not answer."""
    try:
        listed = await api.get(path_of(REDISQUEUES.group, REDISQUEUES.version, "").rstrip("/"))
    except (OSError, TimeoutError, ApiError) as error:
        log.warning("the API server does not answer: %s", error)
        return None
    return REDISQUEUES.plural in {each["name"] for each in (listed or {}).get("resources") or ()}


if __name__ == "__main__":
    sys.exit(main())
