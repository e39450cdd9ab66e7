"""The task of workers that import it by name; the contestant puts its handler here before they start."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

handlers: list[Callable[[str], None]] = []


def handle(payload: str) -> None:
    """Hand one payload to the contestant."""
    handlers[0](payload)
