"""The demo's handler: parse one Python file and report what is in it.

It stands alone on purpose (standard library and redis only): on a cluster this very file travels in a
ConfigMap, and the worker image needs no rebuild.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import platform
import threading
import warnings
import zlib
from typing import Any

import redis

# Both come with `worker.env` of the RedisQueue. One client serves all threads; it connects at its first use.
run = os.environ.get("DEMO_RUN", "demo")
results = redis.Redis.from_url(os.environ.get("RESULTS_URL", "redis://"))

# Neither `catch_warnings` nor, in Python 3.11, the depth counter of `ast.parse` is made for threads.
one_at_a_time = threading.Lock()


def reports_key(name: str) -> str:
    """Hash: file id → JSON report. Writing a report twice changes nothing."""
    return f"{name}:reports"


def handlings_key(name: str) -> str:
    """Hash: file id → how many times a handler reported it."""
    return f"{name}:handlings"


def describe(source: bytes) -> dict[str, Any]:
    """Count the functions and classes of one file and name its content by SHA-256.

    Some of the standard library's test files are wrong on purpose: for them `error` names the exception.
    """
    report: dict[str, Any] = {
        "functions": 0,
        "classes": 0,
        "error": "",
        "sha256": hashlib.sha256(source).hexdigest(),
    }
    try:
        with one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        return report | {"error": type(error).__name__}
    for node in ast.walk(tree):
        report["functions"] += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        report["classes"] += isinstance(node, ast.ClassDef)
    return report


def pack(source: bytes) -> str:
    """A file's bytes as text that fits a JSON message."""
    return base64.b64encode(zlib.compress(source, 1)).decode("ascii")


def unpack(text: str) -> bytes:
    """The opposite of `pack`."""
    return zlib.decompress(base64.b64decode(text))


def handle(message: dict[str, Any]) -> None:
    """Handle one message `{"file": id, "source": packed bytes}`: keep its report under the file's id."""
    report = describe(unpack(message["source"])) | {"python": platform.python_version()}
    with results.pipeline(transaction=True) as both:
        both.hset(reports_key(run), message["file"], json.dumps(report))
        both.hincrby(handlings_key(run), message["file"], 1)
        both.execute()
