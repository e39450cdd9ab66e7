"""A program that runs with 7.0.0 and with ours: what the face looks like, and what it says to odd arguments.

Prints JSON. `python face_verdicts.py redis_message_queue` or `redis_message_queue.asyncio`.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import json
import math
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Only what 7.0.0 documents for an error tells one verdict from another.
ERRORS = ("TypeError", "ValueError", "ConfigurationError", "GatewayContractError", "RedisMessageQueueError")


class Duck:
    """A falsy client without a method."""

    def __bool__(self) -> bool:
        return False


class Number(enum.IntEnum):
    THREE = 3


class Word(enum.StrEnum):
    RAISE = "raise"


async def awaited(*_: object) -> None:
    """An async callback."""


def plain(*_: object) -> None:
    """A callback."""


class Awaited:
    async def __call__(self, *_: object) -> None:
        """An async callback too."""


VALUES: list[object] = [
    *(None, True, False, 0, 1, -1, 3, 10, 300, 1000, 10**30, 0.0, 0.5, 1.5, 1e308, math.nan, math.inf),
    *(Decimal(1), Fraction(1), Number.THREE, Word.RAISE, "x", "", " \t", "a\0b", "a::b", "a:b", "{tag}"),
    *("raise", "drop_oldest", "block", b"x", [], {}, object(), Duck(), int, plain, awaited, Awaited()),
    *(functools.partial(plain), functools.partial(awaited), MagicMock(return_value=None), AsyncMock()),
]
TOGETHER: list[dict[str, Any]] = [
    {"deduplication": False, "get_deduplication_key": None},
    {"deduplication": False, "get_deduplication_key": plain},
    {"enable_completed_queue": True, "max_completed_length": 5},
    {"visibility_timeout_seconds": None, "max_delivery_count": None},
    {"visibility_timeout_seconds": None, "max_delivery_count": None, "heartbeat_interval_seconds": 1},
    {"max_pending_length": 1, "pending_overload_policy": "drop_oldest"},
    {"max_pending_length": 1, "pending_overload_policy": "drop_oldest", "deduplication": False},
    {
        "max_pending_length": 1,
        "pending_overload_policy": "drop_oldest",
        "deduplication": False,
        "max_delivery_count": None,
    },
    {"max_pending_length": 1, "pending_overload_policy": "block"},
    {"heartbeat_interval_seconds": 149.99},
    {"heartbeat_interval_seconds": 1, "on_heartbeat_failure": plain},
    {"heartbeat_interval_seconds": 1, "on_heartbeat_failure": awaited},
    {"name": "a::b", "key_separator": "|"},
]
GATEWAY: list[dict[str, Any]] = [
    {"max_delivery_count": 3, "message_visibility_timeout_seconds": 5},
    {"max_delivery_count": 3, "message_visibility_timeout_seconds": 5, "dead_letter_queue": "d"},
    {"max_delivery_count": 3, "message_visibility_timeout_seconds": 5, "dead_letter_queue": ""},
    {"retry_initial_delay_seconds": 5, "retry_max_delay_seconds": 5},
    {"retry_initial_delay_seconds": 5.1, "retry_max_delay_seconds": 5},
    {"max_pending_length": 1, "pending_overload_policy": "drop_oldest"},
]


def verdict(build: Callable[[], object]) -> str:
    """`fine`, or the documented classes of the error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            build()
        except Exception as error:
            return " ".join(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in ERRORS)
    return "fine"


def verdicts(face: Any) -> Iterator[tuple[str, str]]:
    """Each argument with each value, and arguments together."""
    queue = functools.partial(face.RedisMessageQueue, name="q", client=Duck())
    gateway = functools.partial(face.RedisGateway, redis_client=Duck())
    for build, cls in ((queue, face.RedisMessageQueue), (gateway, face.RedisGateway)):
        for name in parameters_of(cls):
            for number, value in enumerate(VALUES):
                yield f"{cls.__name__} {name} #{number}", verdict(functools.partial(build, **{name: value}))
    for number, options in enumerate(TOGETHER):
        yield f"queue {number}", verdict(functools.partial(queue, **options))
    for number, options in enumerate(GATEWAY):
        yield f"gateway {number}", verdict(functools.partial(gateway, **options))


def parameters_of(member: Any) -> list[str]:
    """The names that a caller may give."""
    return [name for name in inspect.signature(member).parameters if name != "self"]


def shape(member: Any) -> list[str]:
    """Each parameter as text (a default that is a function only says so), and whether it is to be awaited."""
    found = [
        f"{p.name}, kind {p.kind}, " + ("a function" if inspect.isfunction(p.default) else repr(p.default))
        for p in inspect.signature(member).parameters.values()
    ]
    return [*found, "async" if inspect.iscoroutinefunction(member) else "plain"]


def signatures(face: Any) -> Iterator[tuple[str, list[str]]]:
    """Every public callable of every public class."""
    for name in face.__all__:
        cls = getattr(face, name)
        if not inspect.isclass(cls) or issubclass(cls, (enum.Enum, Exception)):
            continue
        for member in ("__init__", *dir(cls)):
            function = inspect.getattr_static(cls, member)
            if inspect.isfunction(function) and (member == "__init__" or not member.startswith("_")):
                yield f"{name}.{member}", shape(function)


if __name__ == "__main__":
    face = importlib.import_module(sys.argv[1])
    json.dump(
        {
            "names": face.__all__,
            "signatures": dict(signatures(face)),
            "bases": {
                name: [base.__name__ for base in getattr(face, name).__mro__]
                for name in face.__all__
                if inspect.isclass(getattr(face, name)) and issubclass(getattr(face, name), Exception)
            },
            "verdicts": dict(verdicts(face)),
        },
        sys.stdout,
    )
