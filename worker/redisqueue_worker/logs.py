"""Log lines on stderr, as JSON objects or for people; and the texts of objects that nobody vouches for."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from types import TracebackType


# ---- texts of objects that nobody vouches for: what a handler raised, logs, or raised with ----
#
# Nothing here raises, whatever an object's own methods do; what comes out is a plain `str` that every
# encoding and every pipe takes, and no longer than asked for.


def plain(text: str, longest: int) -> str:
    """`text` as an exact str of at most `longest` characters, without lone surrogates."""
    # By the methods of `str` itself: those of a subclass may do anything.
    cut = str.__getitem__(text, slice(0, longest + 1))
    whole = str.encode(cut, "utf-8", "backslashreplace").decode()
    return whole if len(whole) <= longest else whole[: longest - 1] + "…"


def text_of(value: object, longest: int = 1000) -> str:
    """What `str` makes of it; its type alone when that fails."""
    try:
        return plain(str(value), longest)
    except BaseException:  # the object's own code
        return f"<{type_name(value)} without a text>"


def shown(value: object) -> str:
    """What `repr` makes of it, in a few words, for an error's text."""
    try:
        return plain(repr(value), 60)
    except BaseException:  # the object's own code; a number may be too long to be written
        return f"<{type_name(value)}>"


def type_name(value: object) -> str:
    """The name of its class; what `__class__` pretends does not count."""
    return class_name(type(value))


def class_name(kind: Any) -> str:
    """The name of a class, also of one whose metaclass hides it."""
    try:
        return plain(kind.__name__, 100)
    except BaseException:  # the metaclass's own code
        return "a class without a name"


# ---- tracebacks that begin where the handler's own code does ----

# What stands between the worker and a handler: nobody who reads a handler's traceback looks for it.
_OURS = (os.path.dirname(__file__) + os.sep, os.path.dirname(asyncio.__file__) + os.sep)
LONGEST_TRACEBACK = 16_000
# So that one long text does not take the place of the frames.
_LONGEST_PIECE = 2000


def formatted(error: BaseException) -> str:
    """The traceback as text, its end if it is too long; never raises, whatever `error` does."""
    trace: TracebackType | None = None
    try:
        trace = error.__traceback__
        told = traceback.TracebackException(type(error), error, trimmed(trace))
        return _end(told.format())
    except BaseException:  # the exception's own code
        last = f"{type_name(error)}: {text_of(error)}\n"
    try:  # its notes or causes are what cannot be told; its frames can
        return _end([*traceback.format_tb(trimmed(trace)), last])
    except BaseException:
        return last


def trimmed(trace: TracebackType | None) -> TracebackType | None:
    """`trace` without the frames that called the handler; whole when the handler has no part in it."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_OURS):
        own = own.tb_next
    return own or trace


def _end(pieces: Iterable[str]) -> str:
    text = "".join(_short(piece) for piece in pieces)
    return text if len(text) <= LONGEST_TRACEBACK else "…" + text[1 - LONGEST_TRACEBACK :]


def _short(piece: str) -> str:
    return plain(piece, _LONGEST_PIECE) + ("\n" if len(piece) > _LONGEST_PIECE else "")


# What a record has of its own. A traceback that exists as text alone comes in `extra` under its name.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
TRACEBACK = "traceback"
_OWN = ("time", "level", "logger")


class JsonFormatter(logging.Formatter):
    """One line per record: time (UTC), level, logger, message, then whatever `extra` carried.

    Never raises: what cannot be written as it is stands there as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_extra(record),
        }
        if found := _traceback(record):
            line[TRACEBACK] = found
        try:
            return _json(line)
        except BaseException:  # somebody's object: a circle, a key that is no text, not a number
            return _json({text_of(name): _writable(value) for name, value in line.items()})


class TextFormatter(logging.Formatter):
    """The same for a person at a terminal: local time, level, message, and the rest as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        shown = {name: value for name, value in _extra(record).items() if name != TRACEBACK}
        fields = "".join(f" {text_of(name)}={text_of(one)}" for name, one in shown.items() if one is not None)
        line = f"{time} {record.levelname.lower():8}{_message(record)}{fields}"
        return "\n".join(filter(None, (line, _traceback(record).rstrip())))


def free_names(extra: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """`extra` with an underscore after each name that is taken."""
    return {f"{name}_" if name in taken else name: value for name, value in extra.items()}


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False, default=text_of)


def _writable(value: Any) -> Any:
    try:
        _json({"": value})
    except BaseException:
        return text_of(value)
    return value


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except BaseException as error:  # its arguments do not fit, or have no text
        place = f"{record.filename}, line {record.lineno}"
        return f"{text_of(record.msg)} (its arguments cannot be shown: {type_name(error)}; {place})"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: value for name, value in vars(record).items() if name not in STANDARD}
    return free_names(found, _OWN)


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None:
        return formatted(record.exc_info[1])
    return text_of(getattr(record, TRACEBACK, ""), LONGEST_TRACEBACK)


class LastingHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream, and drops what the stream does not take: whoever logs is not to blame."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (its name in the standard library)
        """Nothing: the usual complaint goes to stderr as well, and raises once a handler has closed that."""


FORMATS = {"json": JsonFormatter, "text": TextFormatter}


# The loggers whose lines the worker promises; `handler` is that of contexts.
OWN_LOGGERS = ("redisqueue_worker", "redis_message_queue", "handler")
# Those of others that log from within the worker's loops: a client, an event loop, `warnings`.
_USED_LOGGERS = ("redis", "asyncio", "py.warnings")
_to_stderr: logging.Handler | None = None
_level = logging.NOTSET


def configure(level: str, form: str) -> None:
    """Send every logger of the process to stderr in one of the FORMATS, from `level` upwards."""
    global _to_stderr, _level  # noqa: PLW0603  (a process has one logging)
    _to_stderr = LastingHandler(sys.stderr)
    _to_stderr.setFormatter(FORMATS[form]())
    logging.basicConfig(level=level, handlers=[_to_stderr], force=True)
    logging.captureWarnings(True)
    _level = logging.getLevelNamesMapping()[level]
    _shield()


def set_again() -> bool:
    """Whether somebody had silenced or diverted the worker's own lines since `configure`: no more.

    Other loggers stay as that somebody wants them, and so do handlers and filters that were added.
    """
    _shield()
    if _to_stderr is None or not any(_is_silenced(logger, _to_stderr) for logger in _own_loggers()):
        return False
    if logging.root.manager.disable >= _level:
        logging.disable(logging.NOTSET)
    _to_stderr.setLevel(logging.NOTSET)
    for logger in _own_loggers():
        logger.disabled = False
        logger.setLevel(_level)
        logger.propagate = logger.name not in OWN_LOGGERS
        if not logger.propagate and _to_stderr not in logger.handlers:
            logger.addHandler(_to_stderr)
    return True


def _shield() -> None:
    """Let no filter, log handler or record factory of somebody else end a loop of the worker by raising."""
    for logger in _loggers_below(*OWN_LOGGERS, *_USED_LOGGERS):
        if "handle" not in vars(logger):
            logger.handle = partial(_handle, logger.handle)  # type: ignore[method-assign]
            logger.makeRecord = partial(_made, logger.makeRecord)  # type: ignore[method-assign]


def _handle(handle: Callable[[logging.LogRecord], object], record: logging.LogRecord) -> None:
    with suppress(Exception, SystemExit):
        handle(record)


def _made(make: Callable[..., logging.LogRecord], *about: Any, **also: Any) -> logging.LogRecord:
    """The record that the process's factory makes; a plain one when that raises."""
    with suppress(Exception, SystemExit):
        return make(*about, **also)
    return _plain_record(*about, **also)


def _plain_record(
    name: str,
    level: int,
    path: str,
    line: int,
    msg: object,
    args: Any,
    exc_info: Any,
    func: str | None = None,
    extra: Mapping[str, Any] | None = None,
    sinfo: str | None = None,
) -> logging.LogRecord:
    record = logging.LogRecord(name, level, path, line, msg, args, exc_info, func, sinfo)
    vars(record).update(extra or {})
    return record


def _own_loggers() -> list[logging.Logger]:
    return _loggers_below(*OWN_LOGGERS)


def _loggers_below(*names: str) -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.copy().items()
    below = [
        one for name, one in known if name.partition(".")[0] in names and isinstance(one, logging.Logger)
    ]
    return [*map(logging.getLogger, names), *below]


def _is_silenced(logger: logging.Logger, to_stderr: logging.Handler) -> bool:
    if logger.disabled or not logger.isEnabledFor(max(_level, 1)) or to_stderr.level > _level:
        return True
    above: logging.Logger | None = logger
    while above and to_stderr not in above.handlers:
        above = above.parent if above.propagate else None
    return above is None
