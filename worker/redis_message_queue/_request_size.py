"""What one request may carry: servers, and proxies before them, refuse one that is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
# Some refuse a megabyte. A script call with so much holds up Redis for little more than a millisecond.
BYTES_AT_ONCE = 1 << 19


def size_of(text: str | bytes) -> int:
    """Bytes on the wire."""
    return len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode(errors="replace"))


def at_most(text: str | bytes) -> int:
    """No fewer than the bytes on the wire, told without a look at each character."""
    return len(text) if isinstance(text, bytes) or text.isascii() else 4 * len(text)


def parts(items: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Cut into what a request may carry: `most` items and 512 KiB; what is larger than that goes alone."""
    part: list[T] = []
    total = 0
    for item in items:
        bytes_of_it = size(item)
        if part and (len(part) == most or total + bytes_of_it > BYTES_AT_ONCE):
            yield part
            part, total = [], 0
        part.append(item)
        total += bytes_of_it
    if part:
        yield part
