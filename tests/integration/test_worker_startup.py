"""What a real process says about wrong configurations: by name, all at once, at once, with exit code 2."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.fault_proxy import FaultProxy
from tests.support.worker_process import WorkerProcess, counters, eventually, publish

from redisqueue_worker.embedded_redis import free_port

from .test_worker_refusals import claims

if TYPE_CHECKING:
    import redis
    from tests.support.fault_proxy import Request

    from redisqueue_worker.embedded_redis import EmbeddedRedis

ROOT = Path(__file__).parents[2]
HANDLERS = """
import threading, time
def handle(payload): ...
def number(payload: int): ...
def three(payload, context, more): ...
async def later(payload): ...
text = "text"
threading.Thread(target=time.sleep, args=(60,)).start()  # must not keep a process that cannot work
"""
LEAST = {"HANDLER": "tasks:handle", "QUEUE": "jobs", "REDIS_URL": "redis://127.0.0.1:1", "HTTP_PORT": "0"}
# Of one core; several times what it takes where nobody else uses the caches.
MOST_CPU_SECONDS = 3.0


def run(folder: Path, environment: dict[str, str], *words: str) -> tuple[int, str, float]:
    """`redisqueue-worker run` to its end: exit code, what it said on stderr, and CPU seconds."""
    said = folder / "said"
    ours = {f"REDISQUEUE_{name}": value for name, value in environment.items()}
    others = {name: value for name, value in os.environ.items() if not name.startswith("REDISQUEUE_")}
    command = [sys.executable, "-m", "redisqueue_worker.cli", "run", *words]
    files = [(os.POSIX_SPAWN_OPEN, 2, str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
    before = os.getcwd()
    os.chdir(folder)
    try:
        pid = os.posix_spawn(sys.executable, command, {**others, **ours}, file_actions=files)
    finally:
        os.chdir(before)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(), usage.ru_utime + usage.ru_stime


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(HANDLERS)
    (tmp_path / "broken.py").write_text("\nimport no_such_module_at_all\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    return tmp_path


WRONG = {
    "no handler": ({"HANDLER": ""}, "REDISQUEUE_HANDLER (--handler): is missing"),
    "no queue": ({"QUEUE": ""}, "REDISQUEUE_QUEUE (--queue): is missing"),
    "two queues": ({"QUEUE": "jobs,mails"}, "'jobs,mails' looks like several: a worker has one queue"),
    "no Redis": (
        {"REDIS_URL": ""},
        "REDISQUEUE_REDIS_URL (--redis-url) or REDISQUEUE_REDIS_URL_FILE (--redis-url-file): is missing",
    ),
    "no URL of Redis": ({"REDIS_URL": "http://:hunter2@redis"}, "Redis connection: 'url'"),
    "no file": (
        {"REDIS_PASSWORD_FILE": "/no/password"},
        "REDISQUEUE_REDIS_PASSWORD_FILE (--redis-password-file): cannot read '/no/password': No such file",
    ),
    "no number": (
        {"CONCURRENCY": "many"},
        "REDISQUEUE_CONCURRENCY (--concurrency): 'many' must be a whole number from 1 to 1000",
    ),
    "no choice": (
        {"ON_DRAIN_TIMEOUT": "Drop"},
        "REDISQUEUE_ON_DRAIN_TIMEOUT (--on-drain-timeout): 'Drop' must be one of ReturnToFront, LeaveLease",
    ),
    "a contradiction": (
        {"MAX_ATTEMPTS": "20"},
        "REDISQUEUE_MAX_ATTEMPTS (--max-attempts): 20 must not exceed REDISQUEUE_MAX_DELIVERY_COUNT",
    ),
    "an incomplete mode": ({"REDIS_MODE": "Sentinel"}, "Redis connection: 'sentinel_master' is required"),
    "no hash tag": (
        {"REDIS_MODE": "Cluster"},
        "REDISQUEUE_QUEUE (--queue): 'jobs' needs a hash tag in Redis Cluster; use '{jobs}'",
    ),
    "no module": (
        {"HANDLER": "absent:handle"},
        "REDISQUEUE_HANDLER (--handler): cannot import 'absent': ModuleNotFoundError",
    ),
    "a module that fails": ({"HANDLER": "broken:handle"}, "(broken.py, line 2)"),
    "a module that ends the process": (
        {"HANDLER": "script:handle"},
        "REDISQUEUE_HANDLER (--handler): cannot import 'script': SystemExit: 0 (script.py, line 2)",
    ),
    "no function": (
        {"HANDLER": "tasks:handel"},
        "REDISQUEUE_HANDLER (--handler): 'tasks:handel': 'tasks' has no 'handel'; it offers handle, number,",
    ),
    "no function either": ({"HANDLER": "tasks:text"}, "'tasks:text' is a str, not a function"),
    "a wrong signature": ({"HANDLER": "tasks:three"}, "it must take (payload) or (payload, context)"),
    "a wrong annotation": ({"HANDLER": "tasks:number"}, "annotated with <class 'int'>; use str, bytes,"),
    "nothing registered": ({"HANDLER": "tasks"}, "'tasks' registers no handler; use @handler('type')"),
    "slots of the other kind": (
        {"HANDLER": "tasks:later", "SLOTS": "threads"},
        "REDISQUEUE_SLOTS (--slots): 'threads' are for handlers with def, and this one has async def; use",
    ),
    "a file for a folder": ({"RUN_DIR": "tasks.py"}, "REDISQUEUE_RUN_DIR (--run-dir): 'tasks.py': "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_named_at_once(folder: Path, case: str) -> None:
    changes, named = WRONG[case]
    code, said, cpu_seconds = run(folder, LEAST | {"RUN_DIR": str(folder / "run")} | changes)
    assert named in said
    assert code == 2
    assert cpu_seconds < MOST_CPU_SECONDS
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_a_port_in_use_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said, _ = run(folder, LEAST | {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": port})
    assert code == 2
    assert f"REDISQUEUE_HTTP_PORT (--http-port): '127.0.0.1' port {port}: Address already in use" in said


def test_everything_that_is_wrong_is_named_in_one_start(folder: Path) -> None:
    wrong = {"CONCURRENCY": "zero", "MAX_ATTEMPTS": "20", "HTTP_PORT": "99999", "TLS_CA_FILE": "/no/ca"}
    code, said, _ = run(folder, wrong)
    assert code == 2
    lines = [line.removeprefix("redisqueue-worker: REDISQUEUE_") for line in said.splitlines()]
    deliveries = "REDISQUEUE_MAX_DELIVERY_COUNT (--max-delivery-count) = 10"
    assert lines == [
        "CONCURRENCY (--concurrency): 'zero' must be a whole number from 1 to 1000",
        "HTTP_PORT (--http-port): '99999' must be a whole number from 0 to 65535",
        "HANDLER (--handler): is missing",
        "QUEUE (--queue): is missing",
        "TLS_CA_FILE (--tls-ca-file): cannot read '/no/ca': No such file or directory",
        f"MAX_ATTEMPTS (--max-attempts): 20 must not exceed {deliveries}",
        "REDIS_URL (--redis-url) or REDISQUEUE_REDIS_URL_FILE (--redis-url-file): is missing",
    ]


def test_an_option_that_makes_no_sense_is_named(folder: Path) -> None:
    code, said, _ = run(folder, LEAST, "--concurency", "4")
    assert (code, "unrecognized arguments: --concurency" in said) == (2, True)
    code, said, _ = run(folder, LEAST, "tasks:handle", "--handler", "tasks:later")
    assert (code, "two handlers: 'tasks:handle' and --handler 'tasks:later'" in said) == (2, True)


def test_the_handler_may_be_given_as_a_word(folder: Path) -> None:
    code, said, _ = run(folder, LEAST | {"HANDLER": "tasks:handle"}, "tasks:text")
    assert (code, "'tasks:text' is a str, not a function" in said) == (2, True)


def test_several_workers_share_a_machine_without_being_told_of_each_other(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """With nothing said of names and ports, one has the port, and the others say what they lack."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    workers = [WorkerProcess(folder, redis_url, "gated") for folder in folders]
    warning = "no probes and no metrics: choose another port, or 0"
    try:
        for worker in workers:
            del worker.settings["http_port"], worker.settings["worker_id"]
            worker.start()
        publish(redis_client, *"abc")
        for worker in workers:
            worker.until_noted("started", 1)
        eventually(
            lambda: sum(worker.messages().count(warning) for worker in workers) >= 2, "two say what they lack"
        )
        eventually(lambda: len(counters(redis_client).workers) == 3, "three names in Redis")
    finally:
        for worker in workers:
            worker.__exit__()


SEEN = """
import sys, threading, time
from pathlib import Path
HERE = Path(__file__)

def look():
    while not HERE.with_name("claiming").exists():
        time.sleep(0.005)
    HERE.with_name("looked").write_text(" ".join(sys.modules) + "\\n")
    HERE.with_name("looked").rename(HERE.with_name("seen"))

def handle(payload):
    pass

threading.Thread(target=look, daemon=True).start()
"""
# Each takes as long to import as a first message to be handled, or longer, and its claim needs none of them.
LATE = {
    *("prometheus_client", "http.server", "argparse", "difflib", "multiprocessing", "urllib.request"),
    *("redisqueue_worker.metrics_page", "redisqueue_worker.process_pool", "redisqueue_worker.check"),
    *("redis_message_queue.redis_message_queue", "redis_message_queue.redrive", "redis_message_queue.stats"),
    *("redis_message_queue.options", "redis_message_queue._bulk", "redis_message_queue.holders"),
    *("tenacity", "email.parser", "importlib.resources.readers"),
}
# Beyond those of the Redis client, which others make.
MOST_MODULES = 79


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_little_is_imported_before_the_first_claim(
    tmp_path: Path, redis_client: redis.Redis, redis_server: EmbeddedRedis
) -> None:
    """A count and no time: of what a start takes, most is imports. The image has the bytecode of them all."""
    (tmp_path / "seen.py").write_text(SEEN)

    def until_it_has_looked(request: Request) -> None:
        if claims(request):
            (tmp_path / "claiming").touch()
            eventually((tmp_path / "seen").exists, "it looks at what is imported")

    with FaultProxy(redis_server.port, until_it_has_looked) as proxy:
        worker = WorkerProcess(tmp_path, proxy.url, "", http_port=free_port())
        worker.settings["handler"] = "seen:handle"
        publish(redis_client, "first")
        with worker:
            (line,) = worker.until_noted("seen", 1)
    seen = {name for name in line.split() if not name.startswith("opentelemetry")} - {"seen", "runpy"}
    assert not seen & LATE
    ours = seen - modules_after("import redis")
    assert len(ours) <= MOST_MODULES, sorted(ours)
    dockerfile = (ROOT / "worker" / "Dockerfile").read_text()
    (code,) = re.findall(r'^RUN /opt/redisqueue/bin/python -c "(.*?)"$', dockerfile, re.DOTALL | re.MULTILINE)
    uncompiled = seen - modules_after(code.replace("\\\n", ""))
    assert not uncompiled


SLIM = """
import sys
from pathlib import Path

seen = []

def handle(payload, context):
    seen.append("redis" in sys.modules)
    if payload == "first":
        context.publish("second")
    else:
        Path(__file__).with_name("told").write_text(f"{seen}\\n")
        Path(__file__).with_name("told").rename(Path(__file__).with_name("seen"))
"""


def test_a_process_slot_has_no_client_before_its_handler_publishes(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str
) -> None:
    """Nor its memory: the worker alone speaks with Redis."""
    (tmp_path / "slim.py").write_text(SLIM)
    worker = WorkerProcess(tmp_path, redis_url, "", slots="processes")
    worker.settings["handler"] = "slim:handle"
    publish(redis_client, "first")
    with worker:
        assert worker.until_noted("seen", 1) == ["[False, True]"]


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    asked = WorkerProcess(tmp_path, "", "gated").command(command, "--help")
    assert "usage: redisqueue-worker" in asked.communicate()[0]
    assert asked.returncode == 0
