"""Sends messages as a contestant's producer does: `enqueue.py MODULE MESSAGE…`."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys


def main() -> None:
    """Do what the arguments say."""
    module, *messages = sys.argv[1:]
    sent = importlib.import_module(module).enqueue(messages)
    if inspect.iscoroutine(sent):
        asyncio.run(sent)


if __name__ == "__main__":
    main()
