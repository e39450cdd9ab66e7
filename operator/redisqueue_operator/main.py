"""`redisqueue-operator`: watch, lead, reconcile, leave cleanly."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, disable_created_metrics

from redisqueue_operator import handlers
from redisqueue_operator.allowed_hosts import AllowedHosts
from redisqueue_operator.api import Key
from redisqueue_operator.apply import Writer
from redisqueue_operator.connections import Connections
from redisqueue_operator.engine import Engine
from redisqueue_operator.health import HealthServer
from redisqueue_operator.kubernetes_api import SERVICE_ACCOUNT, ApiError, KubernetesApi, path_of
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.lease import Election, LeaseTimes
from redisqueue_operator.lease_store import NAME as LEASE_NAME
from redisqueue_operator.lease_store import KubernetesLease
from redisqueue_operator.metrics import OperatorMetrics
from redisqueue_operator.observe import REDISQUEUES, Store
from redisqueue_operator.redrive.controller import RedriveController
from redisqueue_operator.references import References
from redisqueue_operator.share import Share, check_namespace, names_in
from redisqueue_operator.vitals import why_dead

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("redisqueue_operator")

EXIT_USAGE = 2
CRD = "redisqueues.redisqueue.dev"


@dataclass(frozen=True, slots=True)
class Options:
    """What the process is told by flags or environment."""

    worker_image: str
    share: Share
    own_namespace: str
    lease_name: str
    lease_seconds: int
    resync_seconds: int
    identity: str
    allowed_redis_hosts: AllowedHosts
    port: int
    log_level: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; status 1 when the Lease or the watches are lost, 2 for wrong options."""
    options = read_options(arguments)
    logging.basicConfig(
        level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    handlers.quiet_logs()
    # They would be a second series for each counter and histogram.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory(prefix="redisqueue-") as folder:
        return asyncio.run(Operator(options, Path(folder)).run())


def read_options(arguments: Sequence[str] | None) -> Options:
    """Flags win over the environment. Exits with status 2 and one line for what cannot be used."""
    env = os.environ
    parser = argparse.ArgumentParser(
        prog="redisqueue-operator", description="Runs and scales the workers of RedisQueue resources."
    )
    parser.add_argument(
        "--worker-image",
        default=env.get("REDISQUEUE_WORKER_IMAGE", f"redisqueue-worker:{version('redis-queue-operator')}"),
        help="image of workers whose spec names none (REDISQUEUE_WORKER_IMAGE)",
    )
    parser.add_argument(
        "--watch-namespaces",
        default=env.get("REDISQUEUE_WATCH_NAMESPACES", ""),
        help="comma-separated; empty watches all (REDISQUEUE_WATCH_NAMESPACES)",
    )
    parser.add_argument(
        "--watch-selector",
        default=env.get("REDISQUEUE_WATCH_SELECTOR", ""),
        help="labels of RedisQueues, as for kubectl -l; empty serves all (REDISQUEUE_WATCH_SELECTOR)",
    )
    parser.add_argument(
        "--lease-name",
        default=env.get("REDISQUEUE_LEASE_NAME", ""),
        help=f"the Lease by which one of several equal operators leads; {LEASE_NAME} (REDISQUEUE_LEASE_NAME)",
    )
    parser.add_argument(
        "--lease-seconds",
        type=int,
        default=env.get("REDISQUEUE_LEASE_SECONDS", "15"),
        help="how long a leader that is gone keeps the Lease, at least 3; one that cannot renew gives up "
        "after two thirds of it (REDISQUEUE_LEASE_SECONDS)",
    )
    parser.add_argument(
        "--resync-seconds",
        type=int,
        default=env.get("REDISQUEUE_RESYNC_SECONDS", "300"),
        help="how often everything is listed and looked at, 2 to 600 (REDISQUEUE_RESYNC_SECONDS)",
    )
    parser.add_argument(
        "--namespace",
        default=env.get("REDISQUEUE_NAMESPACE", ""),
        help="where the operator's Lease is; its own by default (REDISQUEUE_NAMESPACE)",
    )
    parser.add_argument(
        "--pod-name",
        default=env.get("POD_NAME") or env.get("REDISQUEUE_POD_NAME") or os.uname().nodename,
        help="who holds the Lease (POD_NAME)",
    )
    parser.add_argument(
        "--allowed-redis-hosts",
        default=env.get("REDISQUEUE_ALLOWED_REDIS_HOSTS", ""),
        help="comma-separated hosts, *.domains or networks (10.0.0.0/8); empty allows all "
        "(REDISQUEUE_ALLOWED_REDIS_HOSTS)",
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=env.get("REDISQUEUE_HTTP_PORT", "8080"),
        help="of /livez, /readyz and /metrics (REDISQUEUE_HTTP_PORT)",
    )
    parser.add_argument(
        "--log-level",
        default=env.get("REDISQUEUE_LOG_LEVEL", "INFO").upper(),
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="REDISQUEUE_LOG_LEVEL",
    )
    given = parser.parse_args(arguments)
    try:
        namespaces = names_in(given.watch_namespaces)
        for name in namespaces:
            check_namespace(name)
    except ValueError as error:
        parser.error(f"--watch-namespaces: {error}")
    try:
        share = Share(namespaces, given.watch_selector.strip())
    except ValueError as error:
        parser.error(f"--watch-selector: {error}")
    try:
        allowed = AllowedHosts(names_in(given.allowed_redis_hosts))
    except ValueError as error:
        parser.error(f"--allowed-redis-hosts: {error}")
    if share.selector and not given.lease_name:
        parser.error(
            f"--watch-selector={share.selector!r} needs a --lease-name of its own: "
            "operators with one Lease elect one leader between them"
        )
    if given.lease_seconds < 3:
        parser.error(f"--lease-seconds: {given.lease_seconds} must be at least 3")
    if not 2 <= given.resync_seconds <= 600:
        parser.error(f"--resync-seconds: {given.resync_seconds} must be from 2 to 600")
    return Options(
        worker_image=given.worker_image,
        share=share,
        own_namespace=given.namespace or _own_namespace(),
        lease_name=given.lease_name or LEASE_NAME,
        lease_seconds=given.lease_seconds,
        resync_seconds=given.resync_seconds,
        identity=f"{given.pod_name}_{uuid.uuid4().hex[:8]}",
        allowed_redis_hosts=allowed,
        port=given.http_port,
        log_level=given.log_level,
    )


class Operator:
    """One process from start to end."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._engine: Engine | None = None
        self._watching = asyncio.Event()
        self._metrics = OperatorMetrics(REGISTRY, version=version("redis-queue-operator"))

    async def run(self) -> int:
        """The exit status."""
        options = self._options
        async with KubernetesApi(self._metrics.api_call) as api:
            health = HealthServer(
                options.port, live=self._live, ready=self._ready, explain=self._explain, registry=REGISTRY
            )
            # First of all: who waits for an API server that is away is alive, and needs no new start.
            async with health:
                log.info("serving /livez, /readyz and /metrics on port %d", health.bound_port)
                if problem := await _missing_crd(api):
                    log.error("%s", problem)
                    return 1
                return await self._lead(api)

    async def _lead(self, api: KubernetesApi) -> int:
        options = self._options
        store = Store()
        references, writer = References(api), Writer(api, instance=options.identity)
        connections = Connections(references, self._folder, options.allowed_redis_hosts)
        connect = options.allowed_redis_hosts.connect
        platform = KubernetesPlatform(
            api,
            store,
            writer,
            references,
            connections,
            worker_image=options.worker_image,
            version=version("redis-queue-operator"),
            share=options.share,
        )
        engine = self._engine = Engine(
            platform,
            wall=api.now,
            resync_seconds=options.resync_seconds,
            metrics=self._metrics,
            connect=connect,
        )
        redrives = RedriveController(api, writer, store, connections, connect, options.share)
        election = Election(
            KubernetesLease(api, options.own_namespace, options.lease_name),
            options.identity,
            LeaseTimes.lasting(options.lease_seconds),
        )

        def notify(key: Key) -> None:
            engine.notify(key)
            redrives.notify(key)

        told, stop_watching, stop_engine = asyncio.Event(), asyncio.Event(), asyncio.Event()
        # Watches run in every replica, so that a standby is warm; only the leader decides and writes.
        watches = asyncio.create_task(
            handlers.watch(store, notify, engine.resync_soon, options.share, stop_watching, self._watching)
        )
        await self._until_watching(watches)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # after kopf has installed its own
            loop.add_signal_handler(number, told.set)
        leading = asyncio.create_task(self._reign(election, engine, redrives, stop_engine))
        leaving = asyncio.create_task(told.wait())
        await asyncio.wait([watches, leading, leaving], return_when=asyncio.FIRST_COMPLETED)
        # First our own tasks, then kopf: it cancels at its end whatever was started after it.
        stop_engine.set()
        if not election.holding:
            leading.cancel()
        outcomes = list(await asyncio.gather(leading, return_exceptions=True))
        await election.release()
        leaving.cancel()
        stop_watching.set()
        outcomes += await asyncio.gather(watches, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.error("ended by %s: %s", type(outcome).__name__, outcome)
        return 0 if told.is_set() else 1

    async def _until_watching(self, watches: asyncio.Task[None]) -> None:
        ready = asyncio.create_task(self._watching.wait())
        await asyncio.wait([watches, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def _reign(
        self, election: Election, engine: Engine, redrives: RedriveController, stop: asyncio.Event
    ) -> None:
        """Wait for the Lease, then reconcile for as long as it is held."""
        await election.acquire()
        self._metrics.leading(True)
        holding = asyncio.create_task(election.hold())
        working = asyncio.create_task(engine.run(stop))
        redriving = asyncio.create_task(redrives.run())
        try:
            done, _ = await asyncio.wait([holding, working], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._metrics.leading(False)
            tasks = (holding, working, redriving)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _explain(self, namespace: str, name: str) -> list[str] | None:
        return self._engine.explain(Key(namespace, name)) if self._engine is not None else None

    def _live(self) -> str:
        return why_dead(self._engine.vitals()) if self._engine is not None else ""

    def _ready(self) -> str:
        return "" if self._watching.is_set() else "the watches have not started"


async def _missing_crd(api: KubernetesApi) -> str:
    """Wait for an API server that answers; what is wrong with it when it knows no RedisQueue."""
    while True:
        try:
            path = path_of(REDISQUEUES.group, REDISQUEUES.version, "")
            listed = await api.get(path.rstrip("/"))
        except (OSError, TimeoutError, ApiError) as error:
            log.warning("the API server does not answer: %s", error)
            await asyncio.sleep(1.0)
            continue
        known = {each["name"] for each in (listed or {}).get("resources") or ()}
        return (
            ""
            if REDISQUEUES.plural in known
            else f"CustomResourceDefinition {CRD} is missing: install it first"
        )


def _own_namespace() -> str:
    with contextlib.suppress(OSError):
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    return "default"


if __name__ == "__main__":
    sys.exit(main())
