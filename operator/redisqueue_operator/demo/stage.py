"""Where the demo takes place: on worker processes of this machine, or on a cluster that has the operator."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

import yaml

from redisqueue_operator.local.definitions import Definitions
from redisqueue_operator.local.platform import LocalPlatform
from redisqueue_operator.loop.reconcile import Engine
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NAMESPACE_VARIABLE = "REDISQUEUE_DEMO_NAMESPACE"
HOST_URL_VARIABLE = "REDISQUEUE_DEMO_REDIS_URL"
POD_URL_VARIABLE = "REDISQUEUE_DEMO_CLUSTER_REDIS_URL"
KUBECTL_SECONDS = 60.0


class StageError(Exception):
    """The stage cannot be set up, or broke; the message says what to do."""


class DemoStage(Protocol):
    """What the driver needs to know of the place."""

    redis_url: str
    """The Redis of the queue, as this process reaches it."""
    poll_seconds: float
    """How often `replicas` may be asked."""

    async def replicas(self) -> tuple[int | None, int]:
        """Workers asked for (None while there is nothing to scale yet) and workers ready; or a StageError."""
        ...


@dataclass
class LocalStage:
    """The engine in this process, workers as child processes, an embedded server."""

    redis_url: str
    platform: LocalPlatform
    engine: asyncio.Task[None]
    poll_seconds: float = 0.1

    async def replicas(self) -> tuple[int | None, int]:
        if self.engine.done():
            raise StageError("the engine ended by itself") from self.engine.exception()
        fleets = [workers.fleet for workers in self.platform.sets]
        return (fleets[0].replicas, fleets[0].ready_replicas) if fleets else (None, 0)


@asynccontextmanager
async def local_stage(run: str, say: Callable[[str, str], None]) -> AsyncIterator[LocalStage]:
    """Set the local stage and take it down again: workers drained, server stopped, temporary files gone."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        definitions = Definitions.parse(yaml.safe_dump_all(manifests(run, server.url)))
        platform = LocalPlatform(definitions, redis_url=server.url, say=say)
        stack.push_async_callback(platform.close)
        engine = Engine(platform)
        platform.changed = engine.notify
        stop = asyncio.Event()
        task = asyncio.create_task(engine.run(stop), name="engine")

        async def stop_engine() -> None:
            stop.set()
            await asyncio.wait([task])

        stack.push_async_callback(stop_engine)
        yield LocalStage(server.url, platform, task)


@dataclass
class ClusterStage:
    """A namespace of the cluster that KUBECONFIG points to."""

    redis_url: str
    run: str
    namespace: str
    poll_seconds: float = 1.0

    async def replicas(self) -> tuple[int | None, int]:
        text = await kubectl(
            "get",
            "deployment",
            f"{self.run}-worker",
            "-n",
            self.namespace,
            "-o",
            "json",
            "--ignore-not-found",
        )
        if not text.strip():
            return None, 0
        deployment: dict[str, Any] = json.loads(text)
        return deployment["spec"].get("replicas", 1), deployment.get("status", {}).get("readyReplicas", 0)


@asynccontextmanager
async def cluster_stage(run: str) -> AsyncIterator[ClusterStage]:
    """Apply the demo's objects to the cluster, where the operator is installed, and delete them at the end.

    Raises StageError when a variable is missing or kubectl fails.
    """
    namespace = os.environ.get(NAMESPACE_VARIABLE, "redisqueue-demo")
    urls = [os.environ.get(name, "") for name in (HOST_URL_VARIABLE, POD_URL_VARIABLE)]
    if not all(urls):
        raise StageError(
            f"set {HOST_URL_VARIABLE} (Redis as seen from this machine) and {POD_URL_VARIABLE} (from pods)"
        )
    objects = yaml.safe_dump_all(manifests(run, urls[1]))
    try:
        await kubectl("apply", "-n", namespace, "-f", "-", stdin=objects)
        yield ClusterStage(urls[0], run, namespace)
    finally:
        # Waits for the RedisQueue alone; its pods end with it, in the background.
        await kubectl("delete", "-n", namespace, "--ignore-not-found", "-f", "-", stdin=objects)


async def kubectl(*arguments: str, stdin: str = "") -> str:
    """The output of one kubectl command. Raises StageError with its own words when it fails."""
    if shutil.which("kubectl") is None:
        raise StageError(
            "kubectl is not on PATH: install it, or run the demo in local mode (make demo MODE=local)"
        )
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(KUBECTL_SECONDS):
            out, error = await process.communicate(stdin.encode())
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise StageError(f"kubectl {' '.join(arguments)}: {error.decode(errors='replace').strip()}")
    return out.decode()


def manifests(run: str, redis_url: str) -> list[dict[str, Any]]:
    """A RedisQueue and the ConfigMap with its handler, named `run`; `redis_url` is the workers' address."""
    here = files("redisqueue_operator.demo")
    queue: dict[str, Any] = yaml.safe_load(here.joinpath("redisqueue.yaml").read_text())
    queue["metadata"]["name"] = run
    queue["spec"]["redis"]["url"] = redis_url
    worker = queue["spec"]["worker"]
    worker["source"]["configMapRef"]["name"] = run
    worker["env"] = [{"name": "RESULTS_URL", "value": redis_url}, {"name": "DEMO_RUN", "value": run}]
    source = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": run},
        "data": {"handler.py": here.joinpath("handler.py").read_text()},
    }
    return [source, queue]
