"""The published redis-message-queue 7.0.0, run as a black box in an environment of its own.

It needs Python 3.12 and a package index, once; the environment is kept in the user's cache folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.environments import Unavailable, python_with

if TYPE_CHECKING:
    from pathlib import Path

REQUIREMENT = "redis-message-queue==7.0.0"
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


def v7_python() -> Path:
    """The interpreter that has 7.0.0 installed. Raises Unavailable."""
    return python_with("v7", REQUIREMENT)


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
