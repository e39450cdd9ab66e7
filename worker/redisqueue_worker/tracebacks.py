"""Tracebacks that begin where the handler's own code does."""

from __future__ import annotations

import asyncio
import os
import traceback
from typing import TYPE_CHECKING

from redisqueue_worker.texts import plain, text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

# What stands between the worker and a handler: nobody who reads a handler's traceback looks for it.
_OURS = (os.path.dirname(__file__) + os.sep, os.path.dirname(asyncio.__file__) + os.sep)
LONGEST_TRACEBACK = 16_000
# So that one long text does not take the place of the frames.
_LONGEST_PIECE = 2000


def formatted(error: BaseException, *, longest: int = LONGEST_TRACEBACK) -> str:
    """The traceback as text, its end if it is too long; never raises, whatever `error` does."""
    trace: TracebackType | None = None
    try:
        trace = error.__traceback__
        told = traceback.TracebackException(type(error), error, trimmed(trace))
        return _end(told.format(), longest)
    except BaseException:  # the exception's own code
        last = f"{type_name(error)}: {text_of(error)}\n"
    try:  # its notes or causes are what cannot be told; its frames can
        return _end([*traceback.format_tb(trimmed(trace)), last], longest)
    except BaseException:
        return last


def trimmed(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames that called the handler; whole when the handler has no part in it."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_OURS):
        own = own.tb_next
    return own or trace


def _end(pieces: Iterable[str], longest: int) -> str:
    text = "".join(_short(piece) for piece in pieces)
    return text if len(text) <= longest else "…" + text[1 - longest :]


def _short(piece: str) -> str:
    return plain(piece, _LONGEST_PIECE) + ("\n" if len(piece) > _LONGEST_PIECE else "")
