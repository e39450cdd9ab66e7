"""Several handlers in one worker: the `type` field of the payload says which one a message is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Registry(Mapping[str, Callable[..., Any]]):
    """Functions by the message type that they handle; a mapping for whoever reads it.

    Use `@handler("resize")` for the process's own registry, or a `Registry()` of your own in the same way.
    """

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}

    def __call__(self, name: str) -> Callable[[AnyFunction], AnyFunction]:
        """Decorator: the function handles messages whose payload is a JSON object with this `type`.

        Raises TypeError when `name` is no text, ValueError when it is empty or already taken.
        """
        if not isinstance(name, str):
            raise TypeError(f"the type must be a text, as in @handler('resize'), got {name!r}")
        if not name or name in self._functions:
            raise ValueError(f"type {name!r} is {'already handled' if name else 'empty'}")

        def register(function: AnyFunction) -> AnyFunction:
            self._functions[name] = function
            return function

        return register

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


handler = Registry()
