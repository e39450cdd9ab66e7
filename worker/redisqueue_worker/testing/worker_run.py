"""A real worker for a test: a process that handles what is on a queue, and leaves."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue import RedisMessageQueue
from redis_message_queue._clock import monotonic
from redisqueue_worker.logs import TRACEBACK
from redisqueue_worker.registry import Registry
from redisqueue_worker.settings import ENVIRONMENT_PREFIX, OPTIONS, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redisqueue_worker.testing.delivery import AnyHandler

_MEANINGS = {
    1: "it crashed",
    2: "a setting or the handler is wrong",
    3: "a start-up hook failed",
    4: "it was stopped with messages in hand",
    5: "no message came to an end for as long as its patience (burst_patience_seconds)",
}
# What makes it leave when the queue is empty, and its log the account of what it did.
_OURS = {"burst": True, "log_level": "DEBUG", "log_format": "json", "http_port": 0}
# No test waits for longer than it has to.
_DEFAULTS = {"retry_initial_seconds": 0.05, "circuit_breaker_failures": 0, "burst_patience_seconds": 10}
_GIVEN = ("handler", "queue", "redis_url", "run_dir")
_LAST_LINES = 30
_LOOK_SECONDS = 0.1
_BEGINNING = '{"time": "'
_LOGGERS = "redisqueue_worker."


class WorkerFailed(Exception):
    """The worker did not empty the queue; the text says why, and has the end of its log."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many deliveries ended how; a message that was retried once and then done counts in both."""

    done: int = 0
    retried: int = 0
    dead: int = 0
    failed: int = 0


class RunWorker(Protocol):
    """The fixture `run_worker_until_empty`: see the function; `queue` is the test's own by default."""

    def __call__(
        self, handler: AnyHandler, *, queue: str = ..., timeout_seconds: float = ..., **settings: object
    ) -> Outcomes:
        """Run a worker."""


def run_worker_until_empty(
    handler: AnyHandler, *, queue: str, redis_url: str, timeout_seconds: float = 60, **settings: object
) -> Outcomes:
    """Run a worker process until nothing waits on the queue, is in hand, or is due within 10 s.

    What others have in hand, as a worker that was killed has, is waited for as long. It imports the handler,
    as any worker does: what a test has patched is not so there. Failures come again after 0.05 s, and the
    circuit breaker is off, unless the settings say otherwise.

    Args:
        handler: "module:function", or a function or Registry that stands at the top of a module.
        timeout_seconds: the worker is killed when it takes longer.
        settings: of `redisqueue-worker run`, such as `concurrency=4` or `slots="processes"`.

    Raises WorkerFailed when it could not do so, TypeError for a setting that there is not, ValueError for a
    handler that another process cannot import.
    """
    with tempfile.TemporaryDirectory(prefix="rq-") as folder:
        values = {
            **_DEFAULTS,
            **_checked(settings),
            **_OURS,
            "handler": reference_of(handler),
            "queue": queue,
            "redis_url": redis_url,
            "run_dir": folder,
        }
        log = Path(folder, "log")
        problem = _emptied(values, log, timeout_seconds)
        text = log.read_text(encoding="utf-8", errors="replace")
    lines = [part for line in text.split("\n") for part in _parts(line)]
    told = [text for line in lines if (text := _for_people(line))]
    if problem:
        raise WorkerFailed(
            "\n".join((f"the worker did not empty {queue!r}: {problem}", *told[-_LAST_LINES:]))
        )
    for text in told:  # pytest shows it below a test that fails
        print(text, file=sys.stderr)
    return _counted(lines)


def _emptied(values: Mapping[str, object], log: Path, timeout_seconds: float) -> str:
    """Run it until others have nothing in hand either; what went wrong, empty when nothing did.

    What a worker that was killed had in hand comes back when its lease ends; what another works on may.
    """
    environment, began = _environment(values), monotonic()
    told = f"it was not done after {timeout_seconds:g} s (timeout_seconds), and was killed"
    waits_until = inf
    while not (problem := _run(environment, log, began + timeout_seconds - monotonic(), told)):
        if not (count := _in_hand(environment)):
            return ""
        patience = float(str(values["burst_patience_seconds"]))
        waits_until = min(waits_until, monotonic() + patience)
        if monotonic() >= waits_until:
            return (
                f"others still have {count} of its messages in hand after {patience:g} s "
                "(burst_patience_seconds); those of a worker that was killed come back when their lease ends:"
                " give that one a short visibility_timeout_seconds"
            )
        time.sleep(_LOOK_SECONDS)
    return problem


def _run(environment: Mapping[str, str], log: Path, timeout_seconds: float, too_long: str) -> str:
    """Run it to its end; what went wrong, empty when nothing did."""
    command = [sys.executable, "-m", "redisqueue_worker.cli", "run"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stderr=output)  # noqa: S603  (our own words)
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return too_long
        finally:
            process.kill()
            process.wait()
    return "" if code == 0 else f"it ended with {code}, {_MEANINGS.get(code, 'killed by a signal')}"


def _in_hand(environment: Mapping[str, str]) -> int:
    """How many messages of the queue somebody has in hand, now that the worker is gone."""
    settings = read_settings({}, environment)
    with settings.connection.connect() as client:
        queue = RedisMessageQueue(
            settings.queue, client=client, deduplication=False, key_separator=settings.key_separator
        )
        return queue.stats().processing


def _checked(settings: Mapping[str, object]) -> Mapping[str, object]:
    known = {option.name for option in OPTIONS} - {*_OURS, *_GIVEN}
    for name in settings:
        if name in (*_OURS, *_GIVEN):
            raise TypeError(f"{name!r} cannot be chosen here: run_worker_until_empty sets it itself")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ": see redisqueue-worker run --help"
            raise TypeError(f"{name!r} is no setting of a worker{hint}")
    return settings


def _environment(values: Mapping[str, object]) -> dict[str, str]:
    """This process's, with all folders that it imports from, and these settings instead of others."""
    others = {name: text for name, text in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    ours = {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": str(one) for name, one in values.items() if one is not None
    }
    return {**others, **ours, "PYTHONPATH": os.pathsep.join(_own_folders())}


def _own_folders() -> list[str]:
    """What this process imports from, but for Python's own: a handler may start another Python."""
    of_python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders = [Path(folder).absolute() for folder in sys.path]
    return [str(one) for one in folders if one.is_dir() and not any(map(one.is_relative_to, of_python))]


# ---- which handler ----


def reference_of(handler: AnyHandler) -> str:
    """The text by which another process imports the handler. Raises ValueError when there is none."""
    if isinstance(handler, str):
        return handler
    functions = list(handler.values()) if isinstance(handler, Registry) else [handler]
    modules = {getattr(function, "__module__", None) or "" for function in functions}
    module = modules.pop() if len(modules) == 1 else ""
    path = getattr(handler, "__qualname__", None) or _name_in(module, handler)
    if module in ("", "__main__") or not path or _at(module, path) is not handler:
        raise ValueError(
            f"{handler!r} is not at the top of one module, where a worker process could import it: "
            'move it there, or name it, "module:name"'
        )
    return f"{module}:{path}"


def _name_in(module: str, value: object) -> str | None:
    """What the module calls it, be it imported there, as the registry `handler` is."""
    names = vars(sys.modules[module]) if module in sys.modules else {}
    return next((name for name, one in names.items() if one is value), None)


def _at(module: str, path: str) -> object:
    target: Any = sys.modules.get(module)
    for part in path.split("."):
        target = getattr(target, part, None)
    return target


# ---- what it did ----


def _parts(line: str) -> list[str]:
    """A line of the log, and before it what a handler has printed there without an end of line."""
    printed, mark, rest = line.partition(_BEGINNING)
    return [part for part in (printed, mark + rest) if part]


def _line(text: str) -> dict[str, Any]:
    """A line of its log; empty for what somebody else wrote there."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "message" in found else {}


def _counted(lines: list[str]) -> Outcomes:
    ends: Counter[str] = Counter()
    for line in map(_line, lines):
        if not str(line.get("logger")).startswith(_LOGGERS):  # a handler may log the same words
            continue
        if line.get("message") in ("handled", "not handled"):
            ends[line.get("outcome", "")] += 1
        ends["dead"] += line.get("dead_lettered", 0)  # by too many deliveries
    return Outcomes(ends["done"], ends["retry"], ends["dead"], ends["failed"])


def _for_people(text: str) -> str:
    """A line of the log as one reads it; empty for those that only count."""
    line = _line(text)
    if not line or line.get("level") == "debug":
        return "" if line else text
    reason = f": {line['reason']}" if line.get("reason") else ""
    return "\n".join(
        filter(None, (f"{line.get('level', '')} {line['message']}{reason}", line.get(TRACEBACK)))
    )
