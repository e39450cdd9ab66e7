"""Where modules say what they handle: functions by the type of their messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from redisqueue_worker.hooks import AroundHooks

if TYPE_CHECKING:
    from redisqueue_worker.handler_policy import Backoff, Batching, HandlerPolicy, Slots

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


class Registry(Mapping[str, Callable[..., Any]]):
    """Functions by the message type that they handle; a mapping for whoever reads it.

    Use `@handler("resize")` for the process's own registry, or a `Registry()` of your own in the same way.

    Attributes:
        around: as `redisqueue_worker.around`, for the handlers of this registry alone.
    """

    def __init__(self) -> None:
        self.around = AroundHooks()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._policies: dict[str, HandlerPolicy | None] = {}

    def __call__(
        self,
        name: str,
        *,
        max_attempts: int | None = None,
        timeout_seconds: float | None = None,
        retry: Backoff | None = None,
        slots: Slots | None = None,
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Decorator: the function handles messages whose payload is a JSON object with this `type`.

        Args:
            name: the type.
            max_attempts: failures before a message is a dead letter; 1: a failure is final.
            timeout_seconds: a handler that runs longer is stopped.
            retry: the delays between attempts.
            slots: where it runs: "threads" (def), "tasks" (async def), or "processes" (either).

        What is left out is as the worker's settings have it.

        Raises TypeError when `name` is no text, ValueError when it is empty or already taken, and for a
        limit that cannot be.
        """
        self._check(name)
        return self._registering(name, _policy(name, max_attempts, timeout_seconds, retry, slots))

    def batch(
        self,
        name: str | None = None,
        *,
        max_size: int = 100,
        max_wait_seconds: float = 0.5,
        max_attempts: int | None = None,
        timeout_seconds: float | None = None,
        retry: Backoff | None = None,
        slots: Slots | None = None,
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Decorator: the function handles messages of this `type` together, as `@batch_handler("index")`.

        It gets a list, oldest first, as its annotation says of each: `list[Document]`. It returns None when
        all are done, or a list with an outcome for each: None, a value, or an exception as it would be
        raised. An exception that it raises is for none in particular: each half is tried again, until one
        that fails is alone. A second argument is a `BatchContext`.

        Args:
            name: the type; without one the function is for a queue that has nothing else, and is named to the
                worker as "module:function".
            max_size: how many messages at most, at most the worker's concurrency.
            max_wait_seconds: how long the first of them waits for others.
            timeout_seconds: of each call.

        All else is as for `@handler`, for each message, and so are the errors.
        """
        if name is not None:
            self._check(name)
        from redisqueue_worker.handler_policy import Batching  # noqa: PLC0415  (few have any)

        batching = Batching(max_size, max_wait_seconds)
        policy = _policy(name, max_attempts, timeout_seconds, retry, slots, batching=batching)
        return _marking(policy) if name is None else self._registering(name, policy)

    def _registering(self, name: str, policy: HandlerPolicy | None) -> Callable[[AnyFunction], AnyFunction]:
        def register(function: AnyFunction) -> AnyFunction:
            self._functions[name] = function
            self._policies[name] = policy
            return function

        return register

    def _check(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the type must be a text, as in @handler('resize'), got {name!r}")
        if not name or name in self._functions:
            raise ValueError(f"type {name!r} is {'already handled' if name else 'empty'}")

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def policy_of(self, name: str) -> HandlerPolicy | None:
        """What was said beside the type `name`."""
        return self._policies[name]


_MARK = "__redisqueue_batch__"


def _marking(policy: HandlerPolicy | None) -> Callable[[AnyFunction], AnyFunction]:
    def mark(function: AnyFunction) -> AnyFunction:
        setattr(function, _MARK, policy)
        return function

    return mark


def batch_policy_of(function: object) -> HandlerPolicy | None:
    """What `@batch_handler` without a type has said of this function; None when it has no such decorator."""
    found: HandlerPolicy | None = getattr(function, "__dict__", {}).get(_MARK)
    return found


def called_by(name: str | None, batching: Batching | None) -> str:
    """The decorator, as errors name it."""
    return f"@{'batch_' if batching else ''}handler" + (f"({name!r})" if name else "")


def _policy(name: str | None, *said: Any, batching: Batching | None = None) -> HandlerPolicy | None:
    """What was said beside the type `name`; None when nothing was. Raises ValueError that names the type."""
    if batching is None and all(limit is None for limit in said):
        return None
    from redisqueue_worker.handler_policy import HandlerPolicy  # noqa: PLC0415  (most say nothing)

    try:
        return replace(HandlerPolicy(*said), batching=batching)
    except ValueError as error:
        raise ValueError(f"{called_by(name, batching)}: {error}") from None


handler = Registry()
batch_handler = handler.batch
