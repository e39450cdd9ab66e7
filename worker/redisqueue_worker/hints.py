"""Annotations as types, one at a time: what others mean at run time is not needed."""

from __future__ import annotations

import typing
from typing import Any


def resolved(annotation: Any, names: dict[str, Any], local: dict[str, Any] | None = None) -> Any:
    """An annotation as a type, whatever its neighbours need. Raises whatever its text does.

    Args:
        names: the names of the module that it stands in.
        local: those of the class that it stands in.
    """
    holder = type("holder", (), {"__annotations__": {"it": annotation}})
    return typing.get_type_hints(holder, names, local)["it"]
