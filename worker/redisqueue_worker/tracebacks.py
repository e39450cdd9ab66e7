"""Tracebacks that begin where the handler's own code does."""

from __future__ import annotations

import asyncio
import os
from typing import TypeVar

# What stands between the worker and a handler: nobody who reads a handler's traceback looks for it.
_OURS = (os.path.dirname(__file__) + os.sep, os.path.dirname(asyncio.__file__) + os.sep)

AnyError = TypeVar("AnyError", bound=BaseException)


def trimmed(error: AnyError) -> AnyError:
    """`error` without the frames that called the handler; as it was when the handler has no part in it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return error if trace is None else error.with_traceback(trace)
