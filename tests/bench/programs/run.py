"""Runs one scenario of one contestant: `run.py MODULE CLASS SCENARIO URL SECONDS`; prints a line of JSON."""

from __future__ import annotations

import importlib
import sys

from measure import Meter, finish

if __name__ == "__main__":
    module, contestant, scenario, url, seconds = sys.argv[1:]
    meter = Meter(url)
    program = getattr(importlib.import_module(module), contestant)(url, meter, float(seconds))
    finish(getattr(program, scenario)())
