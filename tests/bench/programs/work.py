"""Runs a whole worker of one contestant: `work.py MODULE CLASS SCENARIO URL AMOUNT [OPTIONS]`; prints JSON.

The options are those of tests/README.md, "Programs in other languages"; a contestant may know none of them.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peer_tasks
from measure import Meter, Waking, finish

if TYPE_CHECKING:
    from collections.abc import Callable

# A run is warm after so long, if it has handled so many by then, else as soon as it has, or at last: what is
# compiled as it runs, as Node's programs are, costs several times as much before.
WARM_UP_SECONDS, WARM_MESSAGES, WARM_AT_LAST_SECONDS = 0.3, 5000, 2.0
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

    def __init__(self, seconds: float, meter: Meter) -> None:
        self._seconds, self._meter = seconds, meter
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
        at_last = time.perf_counter() + WARM_AT_LAST_SECONDS
        time.sleep(WARM_UP_SECONDS)
        while len(self._done) < WARM_MESSAGES and time.perf_counter() < at_last:
            time.sleep(0.02)
        self._meter.start()
        count = len(self._done)
        time.sleep(self._seconds)
        handled = len(self._done) - count
        if time.perf_counter() - self._last > DRY_SECONDS or not handled:
            finish({"problem": "ran out of tasks"})
        finish(self._meter.stop(handled))


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


class Holding:
    """A handler that never ends; it says when `total` messages are in hand."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._held: list[None] = []

    def __call__(self, _: str) -> None:
        """Hold one message, on any thread."""
        self._held.append(None)
        if len(self._held) == self._total:
            tell({"held": self._total})
        threading.Event().wait()


def tell(result: dict[str, Any]) -> None:
    """Print one line, which does not end this process."""
    os.write(1, f"{json.dumps(result)}\n".encode())


def main() -> None:
    """Do what the arguments say."""
    module, contestant, scenario, url, amount = sys.argv[1:6]
    options = json.loads(sys.argv[6]) if len(sys.argv) > 6 else {}
    # A worker that starts, holds or takes does what it does everywhere, and nothing else.
    meter: Any = Meter(url) if scenario in ("work", "idle") else None
    program: Any = getattr(importlib.import_module(module), contestant)(url, meter, float(amount))
    program.options = options
    if scenario == "fill":
        program.fill(int(amount))
        finish({})
    handlers: dict[str, Callable[[], Callable[[str], None]]] = {
        "work": lambda: Window(float(amount), meter),
        "idle": lambda: Resting(meter, int(amount), program.send),
        "start": lambda: lambda _: finish({"cpu_ms": cpu_seconds() * 1000}),
        "hold": lambda: Holding(int(amount)),
        "take": lambda: lambda _: tell({"taken": 1}),
    }
    peer_tasks.handlers.append(handlers[scenario]())
    program.work()


if __name__ == "__main__":
    main()
