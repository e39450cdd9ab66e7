"""Local mode from end to end: the real engine, real worker processes, a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.local_mode import local_mode
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import alive, descendants, eventually, freeze

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.local.definitions import Definitions
from redisqueue_operator.local.platform import LocalPlatform
from redisqueue_operator.loop.reconcile import Engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import redis

HANDLER = """
import os, time
import redis

client = redis.Redis.from_url(os.environ["RESULTS_URL"])

def handle(payload: str) -> None:
    client.hincrby("handled", f"{payload} {os.environ.get('VERSION', '')}".strip(), 1)
    client.expire("handled", 3600)
    time.sleep(float(os.environ.get("SECONDS", "0")))
"""
FAST_DOWN = {"idleSeconds": 1, "stabilizationSeconds": 0, "minRunSeconds": 0}


def definitions(url: str, **environment: str) -> Definitions:
    variables = {"RESULTS_URL": url, **environment}
    queue = {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": "jobs"},
        "spec": {
            "redis": {"url": "redis://not-used-in-local-mode:6379"},
            "worker": {
                "handler": "work:handle",
                "source": {"configMapRef": {"name": "code"}},
                "env": [{"name": name, "value": value} for name, value in variables.items()],
            },
            "scaling": {"maxReplicas": 2, "backlogPerSlot": 2, "scaleDown": FAST_DOWN},
            "drain": {"timeoutSeconds": 10},
        },
    }
    code = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "code"},
        "data": {"work.py": HANDLER},
    }
    return Definitions.parse(yaml.safe_dump_all([queue, code]))


class Local:
    """A running local mode, and what it has been seen doing."""

    def __init__(self, platform: LocalPlatform, engine: Engine) -> None:
        self.platform = platform
        self.engine = engine
        self.path: list[int] = []

    @property
    def workers(self) -> list[Any]:
        return [worker for group in self.platform.sets for worker in group.workers]

    async def until(self, reached: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                for group in self.platform.sets:
                    if self.path[-1:] != [group.replicas]:
                        self.path.append(group.replicas)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def local(first: Definitions, url: str) -> AsyncIterator[Local]:
    platform = LocalPlatform(first, redis_url=url)
    engine, stop = Engine(platform), asyncio.Event()
    platform.changed = engine.notify
    task = asyncio.create_task(engine.run(stop))
    try:
        yield Local(platform, engine)
    finally:
        stop.set()
        await task
        await platform.close()


def publish(client: redis.Redis, *messages: str) -> None:
    queue = RedisMessageQueue("jobs", client=client, deduplication=False)
    for message in messages:
        assert queue.publish(message)


def handled(client: redis.Redis) -> dict[str, int]:
    return {name.decode(): int(count) for name, count in client.hgetall("handled").items()}


async def test_what_a_killed_worker_had_in_hand_is_handled_at_once(
    redis_client: redis.Redis, redis_url: str
) -> None:
    """By another one that is idle, with leases as long as usual: they last longer than the test waits."""
    first = definitions(redis_url, SECONDS="600")
    spec = next(iter(first.queues.values()))["spec"]
    spec["worker"]["concurrency"] = 16
    spec["scaling"] = {"minReplicas": 2, "maxReplicas": 2}
    async with local(first, redis_url) as here:
        await here.until(lambda: sum(worker.ready for worker in here.workers) == 2)
        dying, other = here.workers
        freeze(other.pid, redis_client)
        publish(redis_client, *(f"m{number}" for number in range(16)))
        await here.until(lambda: len(handled(redis_client)) == 16)
        os.kill(other.pid, signal.SIGCONT)
        dying.kill_process()
        await here.until(lambda: set(handled(redis_client).values()) == {2})
        for worker in here.workers:
            worker.kill()


async def test_workers_come_from_zero_handle_each_message_once_and_leave(
    redis_client: redis.Redis, redis_url: str
) -> None:
    async with local(definitions(redis_url), redis_url) as here:
        await here.until(lambda: here.path == [0])
        publish(redis_client, *map(str, range(20)))
        await here.until(lambda: len(handled(redis_client)) == 20)
        await here.until(lambda: here.path[-1] == 0 and not here.workers)
        assert max(here.path) == 2
        assert set(handled(redis_client).values()) == {1}


async def test_a_killed_worker_is_replaced_and_its_message_handled_again(
    redis_client: redis.Redis, redis_url: str
) -> None:
    first = definitions(redis_url, SECONDS="3")
    first.queues["default", "jobs"]["spec"]["queue"] = {"visibilityTimeoutSeconds": 2}
    async with local(first, redis_url) as here:
        publish(redis_client, "only")
        await here.until(lambda: handled(redis_client) == {"only": 1})
        here.workers[0].kill_process()
        await here.until(lambda: handled(redis_client) == {"only": 2})


async def test_a_changed_file_rolls_the_workers_by_drain(redis_client: redis.Redis, redis_url: str) -> None:
    one, two = definitions(redis_url, VERSION="one"), definitions(redis_url, VERSION="two")
    for each in (one, two):  # with nothing to do it may be asleep before the new worker is ready
        each.queues["default", "jobs"]["spec"]["scaling"]["minReplicas"] = 1
    async with local(one, redis_url) as here:
        publish(redis_client, "before")
        await here.until(lambda: "before one" in handled(redis_client))
        here.platform.load(two)
        await here.until(
            lambda: bool(here.workers) and all("two" in w.template.environment.values() for w in here.workers)
        )
        publish(redis_client, "after")
        await here.until(lambda: "after two" in handled(redis_client))
        assert handled(redis_client) == {"before one": 1, "after two": 1}


async def test_a_queue_that_leaves_the_file_takes_its_workers_along(
    redis_client: redis.Redis, redis_url: str
) -> None:
    async with local(definitions(redis_url, SECONDS="0.5"), redis_url) as here:
        publish(redis_client, "last")
        await here.until(lambda: "last" in handled(redis_client))
        processes = [worker.pid for worker in here.workers]
        here.platform.load(Definitions())
        await here.until(lambda: not here.workers)
        await here.until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in processes))
        assert redis_client.llen("jobs::pending") == redis_client.llen("jobs::processing") == 0


async def test_status_says_what_happened(redis_client: redis.Redis, redis_url: str) -> None:
    async with local(definitions(redis_url, SECONDS="2"), redis_url) as here:
        publish(redis_client, "one")
        (key,) = await here.platform.keys()
        await here.until(lambda: bool(redis_client.hlen("handled")))

        async def status() -> dict[str, Any]:
            raw = await here.platform.get(key)
            assert raw is not None
            return dict(raw.get("status") or {})

        async with asyncio.timeout(PATIENCE_SECONDS):
            while (seen := await status()).get("workers", {}).get("ready") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        conditions = {each["type"]: each["status"] for each in seen["conditions"]}
        assert conditions["Ready"] == conditions["RedisReachable"] == "True"


FILE = """
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: jobs}
spec:
  redis: {url: "redis://redis:6379"}
  worker: {handler: "mine:handle"}
  drain: {timeoutSeconds: 10}
"""


@pytest.mark.parametrize("name", ["t", "a-folder-whose-name-leaves-no-room-for-a-socket-below-it" * 2])
def test_the_command_runs_a_file_and_ends_cleanly(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str, name: str
) -> None:
    (temporary := tmp_path / name).mkdir()
    (tmp_path / "queue.yaml").write_text(FILE)
    (tmp_path / "mine.py").write_text("def handle(payload: str) -> None:\n    print('seen', payload)\n")
    command = [
        sys.executable,
        "-m",
        "redisqueue_operator.cli",
        "local",
        "queue.yaml",
        "--redis-url",
        redis_url,
    ]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        publish(redis_client, "it")
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "| seen it" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_SECONDS) == 130
    text = "".join(lines)
    assert "| seen it" in text
    assert f"redisqueue publish jobs --redis-url {redis_url}" in text
    assert "drained" in text
    assert list(temporary.iterdir()) == []


def test_a_field_that_is_immutable_stays_as_it_was_when_the_file_is_saved(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str
) -> None:
    (tmp_path / "queue.yaml").write_text(FILE)
    (tmp_path / "mine.py").write_text("def handle(payload: str) -> None:\n    print('seen', payload)\n")
    with local_mode(tmp_path, "queue.yaml", redis_url) as output:
        eventually(lambda: "is read again" in output.read_text(), "the file is watched")
        (tmp_path / "saved").write_text(FILE.replace("  worker:", "  queue: {name: other}\n  worker:"))
        (tmp_path / "saved").replace(tmp_path / "queue.yaml")
        eventually(lambda: "stays in force" in output.read_text(), "it is refused")
        assert "jobs: spec.queue.name: spec.queue.name is immutable" in output.read_text()
        publish(redis_client, "it")
        eventually(lambda: "| seen it" in output.read_text(), "the queue is the one that it was")


def test_nothing_outlives_the_command_when_it_is_killed(tmp_path: Path) -> None:
    queue = FILE.replace("  drain:", "  scaling: {minReplicas: 1}\n  drain:")
    (tmp_path / "queue.yaml").write_text(queue)
    (tmp_path / "mine.py").write_text(
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "def handle(payload: str) -> None:\n    pass\n"
    )
    command = [sys.executable, "-m", "redisqueue_operator.cli", "local", "queue.yaml"]
    # What a killed one leaves behind goes with the test's folder.
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            # the server, the worker and what its handler's module started
            found = eventually(
                lambda: here if len(here := descendants(process.pid)) >= 3 else None, "all are there"
            )
        finally:
            process.kill()
        process.wait()
    eventually(lambda: not any(alive(pid) for pid in found), "all have ended")


def test_the_command_refuses_what_the_api_server_would(tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(FILE.replace("timeoutSeconds: 10", "timeoutSeconds: soon"))
    command = [sys.executable, "-m", "redisqueue_operator.cli", "local", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 1
    assert "spec.drain.timeoutSeconds" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_local_mode_needs_no_kubernetes_client() -> None:
    code = textwrap.dedent("""
        import sys, json
        import redisqueue_operator.cli, redisqueue_operator.demo.__main__
        print(json.dumps([name for name in ("kopf", "kubernetes") if name in sys.modules]))
    """)
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert json.loads(ended.stdout) == []


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "redisqueue_operator.demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def test_the_demo_proves_what_it_says() -> None:
    ended = demo("--limit", "60")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for fact in ("none lost: 60", "each handled once: 60", "totals equal", "make demo MODE=cluster"):
        assert fact in ended.stdout


@pytest.mark.parametrize("after_seconds", [0.8, 2.0])
def test_the_demo_ends_cleanly_when_interrupted(tmp_path: Path, after_seconds: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "redisqueue_operator.demo"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # signals are handled from its first line on
        time.sleep(after_seconds)  # at different points of its life, not for something to happen
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(timeout=PATIENCE_SECONDS) == 130, rest
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in rest
