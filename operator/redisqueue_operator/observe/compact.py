"""Objects of the API server as they are kept: thousands of them say nearly the same."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def compact(obj: dict[str, Any]) -> dict[str, Any]:
    """An object to keep: who manages which field is read by nobody, and what all say is kept once."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    kept: dict[str, Any] = _with_shared_texts({**obj, "metadata": metadata})
    return kept


def _with_shared_texts(value: Any) -> Any:
    """The same: each answer of the server has strings of its own."""
    if isinstance(value, dict):
        return {shared(name): _with_shared_texts(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_shared_texts(part) for part in value]
    return shared(value) if isinstance(value, str) else value


@lru_cache(maxsize=8192)
def shared(text: str) -> str:
    """The equal text that came first. `sys.intern` would keep it for ever on some versions of Python 3.12."""
    return text
