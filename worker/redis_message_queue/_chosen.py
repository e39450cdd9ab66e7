"""Which arguments a caller named: a default that somebody chose differs from one that nobody thought of."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
S = TypeVar("S")


def noting_names(initialise: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """A constructor that keeps the names of its keyword arguments in `_chosen`; its signature stays."""

    @functools.wraps(initialise)
    def noting(self: S, *args: P.args, **kwargs: P.kwargs) -> None:
        noted: Any = self
        noted._chosen = frozenset(kwargs)  # noqa: SLF001 - its own constructor
        initialise(self, *args, **kwargs)

    return cast("Callable[Concatenate[S, P], None]", noting)
