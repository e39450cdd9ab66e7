# Written by worker/sync_face.py from asyncio/_cancelling.py: change that.
"""Cancelling a message: mark it, look for it, take it out or tell who has it in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis_message_queue.cancelling import Cancellation, forget, mark, take
from redis_message_queue.looking import Cursor, Place, locate_stored

if TYPE_CHECKING:
    from redis_message_queue._redis_gateway import Sender
    from redis_message_queue.keys import QueueKeys

# How often it is looked for where it moves on all the time; its mark stays then, and does the rest.
_MOST_SEARCHES = 10


def cancel(sender: Sender, keys: QueueKeys, dead_letters: str, message_id: str) -> Cancellation:
    """End one message."""
    ask = sender.call_retrying
    before = ask(mark(keys, message_id))
    certain = False
    for _ in range(_MOST_SEARCHES):
        found: Place | Cursor = Cursor()
        pages = 0
        while isinstance(found, Cursor):
            found = ask(locate_stored(keys, dead_letters, message_id, found))
            pages += 1
        if found.stored:
            if answer := ask(take(keys, message_id, found)):
                return answer
        elif found.location.state == "unknown" and pages > 1 and not certain:
            certain = True  # what a lease gave back meanwhile may have been missed: look once more
        else:
            ended = found.location.state != "unknown"
            return ask(forget(keys, message_id, ended=ended, before=before))
    return "requested"
