"""Says whether messages are safe on the Redis that a worker has. Nothing waits for that or ends by it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from redis_message_queue.server import ServerFacts, server_facts

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


def check_in_background(connection: ConnectionSettings) -> None:
    """Log once what is wrong with the server, as soon as it answers: on a thread of its own."""
    threading.Thread(target=_check, args=(connection,), name="server-check", daemon=True).start()


def _check(connection: ConnectionSettings) -> None:
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            with connection.connect() as client:
                facts = server_facts(client)
        except Exception as error:  # most likely Redis is away, which the claim loop tells of
            log.debug("the server does not tell of itself", extra={"error": type(error).__name__})
            time.sleep(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)
        else:
            tell(facts, connection.redacted)
            return


def tell(facts: ServerFacts, where: str) -> None:
    """One warning for each concern, one line for what is not known."""
    for concern in facts.concerns:
        fields = {"redis": where, "reason": concern.reason, "detail": concern.text}
        log.warning("messages are not safe on this Redis", extra=fields)
    if facts.unknown:
        log.info(
            "this Redis does not tell whether messages are safe there",
            extra={"redis": where, "unknown": ", ".join(facts.unknown)},
        )
