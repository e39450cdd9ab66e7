"""A recording for `make simulate`, of a queue at work on a real server."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulate import trace

from redis_message_queue import RedisMessageQueue

if TYPE_CHECKING:
    import redis

ROOT = Path(__file__).parents[2]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.simulate.record", *arguments]


def test_what_arrives_is_recorded(redis_client: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client, deduplication=False, visibility_timeout_seconds=60)
    file, published = tmp_path / "jobs.csv", 0
    command = _command(redis_url, "jobs", str(file), "--seconds", "3", "--every", "0.02")
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as recorder:
        while recorder.poll() is None:
            published += queue.publish("m")
            with queue.process_message() as message:
                assert message is not None
                time.sleep(0.05)
        assert recorder.returncode == 0
        assert recorder.stdout is not None
        assert "jobs.csv" in recorder.stdout.read()
    load = trace.read(file)
    assert 1 <= len(load.messages) <= published
    assert all(0 < message.handling_seconds < time.monotonic() - began for message in load.messages)


def test_a_queue_without_work_is_refused(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "jobs.csv"
    command = _command(redis_url, "jobs", str(file), "--seconds", "0.2")
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, file.exists()) == (1, False)
    assert "record: nothing was claimed during the recording" in done.stderr


def test_a_redis_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = _command("redis://127.0.0.1:1", "jobs", str(tmp_path / "jobs.csv"))
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("record: ")
    assert "Traceback" not in done.stderr
