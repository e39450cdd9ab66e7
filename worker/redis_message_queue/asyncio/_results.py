"""Waiting for what becomes of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis.exceptions

from redis_message_queue.asyncio import _io
from redis_message_queue.asyncio._retry import pause
from redis_message_queue.client_checks import can_block
from redis_message_queue.trouble import is_retryable

if TYPE_CHECKING:
    from redis_message_queue.asyncio._redis_gateway import Sender
    from redis_message_queue.operations import Text

# How long one command waits: well under the socket timeouts that clients have.
_BLOCK_SECONDS = 1.0
# Between two looks where no command can wait, or where Redis is away; and how soon an interrupt is noticed.
_LOOK_SECONDS = 0.25
_SHORTEST_SECONDS = 0.01


async def wait_for_result(sender: Sender, key: str, seconds: float) -> Text | None:
    """The text at the head of the list `key` as soon as there is one; None when the time is over.

    Any number may wait for the same: it stays there. Trouble that may pass is waited out, and raised when the
    time is over before it has passed.
    """
    began = _io.now()
    blocks, found = can_block(sender.client), None
    longest = _BLOCK_SECONDS if sender.interrupt is None else _LOOK_SECONDS
    while True:
        left = seconds - _io.now().since(began)
        block, failure = max(_SHORTEST_SECONDS, min(longest, left)), None
        try:
            if blocks and left > 0:
                # From the head to the head: nothing moves, and whoever else waits is given the same.
                found = await sender.command("blmove", key, key, block, "LEFT", "LEFT")
            else:
                found = await sender.command("lindex", key, 0)
        except (redis.exceptions.NoPermissionError, redis.exceptions.OutOfMemoryError):
            if not blocks:
                raise
            blocks = False  # a full server refuses even a move that changes nothing: look instead
            continue
        except Exception as error:
            if not is_retryable(error):
                raise
            failure = error
        if found is not None or sender.stopped():
            return found
        if left <= 0 or (failure and left <= _LOOK_SECONDS):
            if failure:
                raise failure
            return None
        if failure or not blocks:
            await pause(min(_LOOK_SECONDS, left), sender.stopped)
