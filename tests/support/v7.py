"""The published redis-message-queue 7.0.0, run as a black box in an environment of its own.

It needs Python 3.12 and a package index, once; the environment is kept in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIREMENT = "redis-message-queue==7.0.0"
_HOME = Path.home() / ".cache" / "redisqueue" / "v7"
_PROGRAM = """
import json, os, sys
import redis
from redis_message_queue import RedisMessageQueue

request = json.loads(sys.argv[1])
client = redis.Redis.from_url(request["url"])
queue = RedisMessageQueue(request["queue"], client=client, **request["options"])
answers = []
for message in request.get("publish", ()):
    answers.append(queue.publish(message))
for _ in range(request.get("consume", 0)):
    with queue.process_message() as payload:
        answers.append(None if payload is None else payload.decode())
        if payload is None:
            break
        if request.get("crash"):
            print(json.dumps(answers), flush=True)
            os._exit(0)
print(json.dumps(answers))
"""


class Unavailable(Exception):
    """The 7.0.0 environment cannot be built here; the text says what is missing."""


def v7_python() -> Path:
    """The interpreter that has 7.0.0 installed; built at the first use. Raises Unavailable."""
    found = _provision()
    if isinstance(found, Unavailable):
        raise found
    return found


@cache
def _provision() -> Path | Unavailable:
    """Once in a run: a missing package index is slow to find out about."""
    try:
        return _provisioned()
    except Unavailable as missing:
        return missing


def _provisioned() -> Path:
    python = _HOME / "bin" / "python"
    ready = _HOME / "ready"
    _HOME.parent.mkdir(parents=True, exist_ok=True)
    with (_HOME.parent / "v7.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or not python.exists():
            _build(python)
            ready.write_text(REQUIREMENT)
    return python


def _build(python: Path) -> None:
    base = next(_python312(), None)
    if base is None:
        raise Unavailable("no Python 3.12 (python3.12 on PATH, or pyenv) for redis-message-queue 7.0.0")
    _run([base, "-m", "venv", "--clear", str(_HOME)], "could not create its environment")
    _run([str(python), "-m", "pip", "install", "--quiet", REQUIREMENT], "pip could not install it")


def _python312() -> Iterator[str]:
    """Interpreters that really run: a shim on PATH may point to nothing."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, shutil.which("python3.12"), *pyenv.glob("3.12*/bin/python")]
    check = "import sys, venv, ensurepip; raise SystemExit(sys.version_info[:2] != (3, 12))"
    for candidate in candidates:
        if (
            candidate
            and subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode == 0
        ):
            yield str(candidate)


def _run(command: list[str], problem: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.SubprocessError as error:
        output = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Unavailable(
            f"redis-message-queue 7.0.0: {problem}: {output[-1] if output else error}"
        ) from None


def require_v7() -> None:
    """Skip the test with one line when 7.0.0 is not to be had; fail instead when CI=true."""
    try:
        v7_python()
    except Unavailable as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def _ask(url: str, queue: str, options: dict[str, Any], **request: Any) -> list[Any]:
    question = json.dumps({"url": url, "queue": queue, "options": options, **request})
    answer = subprocess.run(
        [str(v7_python()), "-I", "-c", _PROGRAM, question],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )
    if answer.returncode:
        raise AssertionError(f"7.0.0 failed: {answer.stderr}")
    return json.loads(answer.stdout)  # type: ignore[no-any-return]


def publish(url: str, queue: str, count: int, payload_prefix: str = "v7-", **options: Any) -> list[bool]:
    """Publish `<prefix>0` … with 7.0.0; what its `publish` returned, in order."""
    return _ask(url, queue, options, publish=[f"{payload_prefix}{number}" for number in range(count)])


def publish_messages(url: str, queue: str, messages: list[Any], **options: Any) -> list[bool]:
    """Publish these messages with 7.0.0; what its `publish` returned, in order."""
    return _ask(url, queue, options, publish=messages)


def consume(url: str, queue: str, count: int, **options: Any) -> list[str | None]:
    """Handle up to `count` messages with 7.0.0; their payloads, and None if it came upon an empty queue."""
    return _ask(url, queue, options, consume=count)


def claim_and_crash(url: str, queue: str, **options: Any) -> list[str | None]:
    """Claim one message with 7.0.0 and die with it in hand."""
    return _ask(url, queue, options, consume=1, crash=True)
