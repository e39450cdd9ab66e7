"""Runs a whole worker of one contestant: `work.py MODULE CLASS fill|work|idle URL AMOUNT`; prints JSON."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import peer_tasks
from measure import Meter, Waking, finish

WARM_UP_SECONDS = 0.3
# arq reads twice a second; a queue that is quiet for longer than this is empty.
DRY_SECONDS = 0.8


def cpu_seconds() -> float:
    """What this process has used so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def resident_mib() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Window:
    """A handler that ends the process after `seconds` of work, with what was done in them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._done: list[None] = []
        self._last = 0.0
        self._first = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self, _: str) -> None:
        """Handle one task, on any thread."""
        self._done.append(None)
        self._last = time.perf_counter()
        self._first.set()

    def _watch(self) -> None:
        self._first.wait()
        time.sleep(WARM_UP_SECONDS)
        began, count, cpu = time.perf_counter(), len(self._done), cpu_seconds()
        time.sleep(self._seconds)
        ended = time.perf_counter()
        handled, seconds = len(self._done) - count, ended - began
        if ended - self._last > DRY_SECONDS:
            finish({"problem": "ran out of tasks"})
        used = (cpu_seconds() - cpu) / max(1, handled) * 1e6
        finish({"per_second": handled / seconds, "cpu_us": used, "handled": handled})


class Resting(Waking):
    """A handler that also tells what the worker takes while it has nothing to do."""

    def __call__(self, payload: str) -> None:
        """Handle one task: its payload says when it was sent."""
        self._delays.append((time.perf_counter() - float(payload)) * 1000)
        if len(self._delays) == self._total:
            finish({"delays_ms": self._delays, **self._at_rest})

    def _produce(self) -> None:
        time.sleep(self.IDLE_SECONDS)
        before = cpu_seconds()
        time.sleep(self.IDLE_SECONDS)
        used = (cpu_seconds() - before) / self.IDLE_SECONDS
        self._at_rest = {"idle_cpu_percent": used * 100, "resident_mib": resident_mib()}
        super()._produce()


def main() -> None:
    """Do what the arguments say."""
    module, contestant, scenario, url, amount = sys.argv[1:]
    meter = Meter(url)
    program: Any = getattr(importlib.import_module(module), contestant)(url, meter, float(amount))
    if scenario == "fill":
        program.fill(int(amount))
        finish({})
    if scenario == "work":
        peer_tasks.handlers.append(Window(float(amount)))
    else:
        peer_tasks.handlers.append(Resting(meter, int(amount), program.send))
    program.work()


if __name__ == "__main__":
    main()
