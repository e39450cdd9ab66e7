"""Text of objects that nobody vouches for: a handler's exceptions, what it logs, what it raised with.

Nothing here raises, whatever an object's own methods do; what comes out is a plain `str` that every encoding
and every pipe takes, and no longer than asked for.
"""

from __future__ import annotations

from typing import Any


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
