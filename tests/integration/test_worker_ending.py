"""How a worker ends or starts afresh: others come first, Redis last, and nothing that a handler did stays."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from tests.support.worker_process import QUEUE, WorkerProcess, counters, eventually, publish

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    from pathlib import Path

    import redis

COMMON = """
import atexit, json, multiprocessing, os, resource, signal, subprocess, sys, threading, time
from pathlib import Path
from redisqueue_worker import on_shutdown, on_startup

FOLDER = Path(__file__).parent

def note(what, text):
    with open(FOLDER / what, "a") as file:
        file.write(f"{text}\\n")

def handle(payload: str):
    note("finished", f"{payload} {os.getpid()}")
"""


def ending(
    tmp_path: Path, redis_url: str, source: str, handler: str = "handle", **settings: object
) -> WorkerProcess:
    (tmp_path / "ends.py").write_text(COMMON + source)
    worker = WorkerProcess(tmp_path, redis_url, "", **settings)
    worker.settings["handler"] = f"ends:{handler}"
    return worker


STUCK = """
def stuck(payload: str, context):
    note("begun", f"{time.monotonic()} {os.getpid()}")
    while context.delivery_count == 1:
        with open(FOLDER / "at work now", "w") as file:
            file.write(str(time.monotonic()))
        os.replace(FOLDER / "at work now", FOLDER / "at work")  # whole, whenever its process ends
        time.sleep(0.005)

@on_shutdown
def slow():
    note("hook", os.getpid())
    time.sleep(1.5)

@atexit.register
def say_goodbye():
    note("atexit", os.getpid())
"""


@pytest.mark.parametrize("told", [None, signal.SIGTERM])
def test_what_cannot_be_stopped_is_not_handled_twice_at_once(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, told: signal.Signals | None
) -> None:
    """The hooks have their time, while the handler is still at work and its message nobody else's."""
    settings = {"handler_timeout_seconds": 0.3}
    with ending(tmp_path, redis_url, STUCK, "stuck", **settings) as first:
        publish(redis_client, "a")
        first.until_noted("begun", 1)
        with ending(tmp_path, redis_url, STUCK, "stuck", worker_id="worker-2"):
            first.until_noted("hook", 1)
            if told:
                first.signal(told)
                assert first.wait() == 0
            again = float(first.until_noted("begun", 2)[1].split()[0])
        assert float((tmp_path / "at work").read_text()) <= again
        assert len(first.noted("atexit")) >= 1


def test_a_hook_that_hangs_costs_neither_the_outcome_nor_the_fresh_start(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    source = STUCK.replace("time.sleep(1.5)", "time.sleep(60)")
    publish(redis_client, "a")
    with ending(tmp_path, redis_url, source, "stuck", handler_timeout_seconds=0.3) as worker:
        worker.logged("started", count=2)
        worker.until_noted("begun", 2)
        assert worker.noted("atexit")
        assert "shut-down hooks run for longer than 5 s: leaving without them" in worker.messages()
        eventually(lambda: counters(redis_client).processing == 0, "settled")


CHILD_THAT_HANGS = """
atexit.register(note, "exported", "spans")
multiprocessing.get_context("fork").Process(target=signal.pause).start()  # Python waits for it at the end
"""


@pytest.mark.parametrize(
    "source",
    [
        "atexit.register(note, 'exported', 'spans')\n",
        "atexit.register(note, 'exported', 'spans')\natexit.register(lambda: 1 / 0)\n",
        CHILD_THAT_HANGS,
    ],
    ids=["as it should", "after one that fails", "while a child hangs"],
)
def test_functions_of_atexit_run_before_a_fresh_start(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, source: str
) -> None:
    publish(redis_client, "a")
    with ending(tmp_path, redis_url, source, max_messages=1) as worker:
        worker.logged("started", count=2)
        assert worker.noted("exported") == ["spans"]
        assert worker.running


def test_a_function_of_atexit_that_hangs_is_given_up(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, "a")
    with ending(tmp_path, redis_url, "atexit.register(time.sleep, 60)\n", max_messages=1) as worker:
        worker.logged("started", count=2)
        publish(redis_client, "b")
        worker.until_noted("finished", 2)


TELLS_ITS_WORKER = """
CHILD = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: os.kill(int(sys.argv[1]), signal.SIGTERM))
print("ready", flush=True)
[time.sleep(0.05) for _ in range(1200)]  # a signal just before a long wait is heard at its end
'''

def start(payload: str):
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(os.getpid())], stdout=subprocess.PIPE)
    child.stdout.readline()
"""


def test_a_signal_that_comes_while_the_process_is_replaced_stops_the_next_one(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    """A child that is ended for the fresh start sends it: all threads but one let signals through then."""
    publish(redis_client, "a")
    with ending(tmp_path, redis_url, TELLS_ITS_WORKER, "start", max_messages=1) as worker:
        assert worker.wait() == 0
        assert "starting afresh" in worker.messages()
        assert worker.messages().count("started") == 1


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_atexit_runs_although_a_thread_is_left_over(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    source = """
atexit.register(note, "exported", "spans")

def leave_a_thread(payload: str):
    threading.Thread(target=time.sleep, args=(60,)).start()
    note("finished", payload)
"""
    publish(redis_client, "a")
    with ending(tmp_path, redis_url, source, "leave_a_thread", slots=slots) as worker:
        worker.until_noted("finished", 1)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert worker.noted("exported") == ["spans"]


SURROUNDINGS = """
def is_inheritable(descriptor):
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False

os.umask(mask := os.umask(0))
note("facts", json.dumps({
    "folder": os.getcwd(),
    "mask": mask,
    "environment": {name: value for name, value in os.environ.items() if not name.startswith("_")},
    "ignored": [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "processors": sorted(os.sched_getaffinity(0)),
    "alarm is set": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    "niceness": os.getpriority(os.PRIO_PROCESS, 0),
    "streams": [os.readlink(f"/proc/self/fd/{n}") for n in range(3)],
    "inherited": [n for n in map(int, os.listdir("/proc/self/fd")) if n > 2 and is_inheritable(n)],
    "pid": os.getpid(),
}))
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGALRM})
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
if os.geteuid() == 0:
    os.nice(3)

def trash(payload: str):
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()
    os.environ["REDISQUEUE_QUEUE"] = "another"
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    signal.setitimer(signal.ITIMER_REAL, 3600)
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, True)
    os.dup2(kept, 0)
    os.dup2(kept, 1)
    note("finished", payload)
"""


def test_a_fresh_start_finds_everything_as_the_first_one_did(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    with ending(tmp_path, redis_url, SURROUNDINGS, "trash", max_messages=1) as worker:
        publish(redis_client, "a")
        worker.until_noted("finished", 1)
        worker.logged("started", count=2)
        publish(redis_client, "b")
        worker.until_noted("finished", 2)
        worker.logged("started", count=3)
        facts = [json.loads(line) for line in worker.noted("facts")]
        assert facts[1] == facts[0]
        assert facts[2] == facts[0]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.parametrize("slots", ["auto", "processes"])
def test_a_memory_limit_below_the_idle_size_is_warned_of_and_no_endless_loop(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis, slots: str
) -> None:
    fresh = "process replaced" if slots == "processes" else "starting afresh"
    warning = (
        "larger than REDISQUEUE_MAX_MEMORY_MIB before the first message: it starts afresh only after "
        "messages; raise the limit"
    )
    with ending(tmp_path, redis_url, "", max_memory_mib=5, slots=slots) as worker:
        assert worker.logged(warning)["limit_mib"] == 5
        for number, payload in enumerate("abc", start=1):
            assert worker.messages().count(fresh) == number - 1
            publish(redis_client, payload)
            worker.logged(fresh, count=number)
            worker.logged(warning, count=number + 1)
        assert [note[0] for note in worker.noted("finished")] == ["a", "b", "c"]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_code_that_could_not_start_is_left_in_order_as_well(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    source = """
atexit.register(note, "exported", "spans")
os.chdir("/")
if not (FOLDER / "mended").exists():
    raise RuntimeError("broken")
"""
    worker = ending(tmp_path, redis_url, source, reload="true").start()
    try:
        eventually(lambda: "RuntimeError: broken" in worker.log_file.read_text(), "it is told")
        (tmp_path / "mended").touch()
        (tmp_path / "more.py").touch()
        worker.logged("started")
        assert worker.noted("exported") == ["spans"]
        RedisMessageQueue(QUEUE, client=redis_client).publish("a")
        worker.until_noted("finished", 1)
    finally:
        worker.__exit__()
