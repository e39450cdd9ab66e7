"""What became of a message, as workers with results keep it for whoever asks by its id."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.exceptions import PayloadTooLargeError
from redis_message_queue.payload import json_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis_message_queue.operations import Text

ResultState = Literal["completed", "failed", "cancelled"]

LONGEST_VALUE_BYTES = 256 * 1024
"""Of what a handler returned, as JSON: it is held in Redis for as long as results are kept."""
_LONGEST_REASON = 4096
_LIMITS = PayloadLimits()
# What the text of each begins with; the scripts that keep one rely on that.
_BEGINNING = '{"state":'


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a message.

    completed: `value` is what its handler returned, as JSON has it or of the type that was asked for; None
    where that cannot be told, and then `reason` says why. failed: it was given up, or failed for good, for
    this `reason`. cancelled: `cancel()` ended it.
    """

    state: ResultState
    value: Any = None
    reason: str = ""


def completed(value: object) -> str:
    """The text of a result: what a handler returned. Never raises: the message is done in any case."""
    if value is None:
        return f'{_BEGINNING}"completed","value":null}}'
    try:
        text = json_text(value, _LIMITS)
        if len(text) > LONGEST_VALUE_BYTES:  # it is ASCII
            raise PayloadTooLargeError(f"{len(text)} bytes as JSON, at most {LONGEST_VALUE_BYTES} are kept")
    except BaseException as error:  # a value is its author's own code
        return _without_value(error)
    return f'{_BEGINNING}"completed","value":{text}}}'


def ended(state: ResultState, reason: str) -> str:
    """The text of a result that has no value."""
    return f'{_BEGINNING}"{state}","reason":{json.dumps(reason[:_LONGEST_REASON])}}}'


def _without_value(error: BaseException) -> str:
    try:
        why = str(error).removeprefix("payload: ")
    except BaseException:
        why = ""
    return ended(
        "completed", f"the value that the handler returned is not kept: {why or type(error).__name__}"
    )


def reader_for(kind: Any) -> Callable[[Text], Result]:
    """What reads the text of a result; a value that was returned becomes one of `kind`, unless that is None.

    The reader raises ValueError for what is no result, and for a value that does not fit. Raises TypeError
    for a type that JSON can never fill.
    """
    if kind is None:
        return read
    # The table is the one of handlers, which only who asks for a type has to import.
    from redisqueue_worker.exceptions import InvalidPayload  # noqa: PLC0415
    from redisqueue_worker.payload import converter_for  # noqa: PLC0415

    convert = converter_for(kind)

    def reading(text: Text) -> Result:
        result = read(text)
        if result.state != "completed" or result.reason:
            return result
        try:
            return replace(result, value=convert(result.value))
        except InvalidPayload as misfit:
            raise ValueError(f"the value that the handler returned: {misfit}") from None

    return reading


def read(text: Text) -> Result:
    """The result that a text tells. Raises ValueError for what is none."""
    try:
        told = json.loads(text)
    except RecursionError:
        told = None
    if not isinstance(told, dict) or "state" not in told:
        raise ValueError("no result of a message: something else writes to its key")
    return Result(told["state"], told.get("value"), told.get("reason", ""))
