"""Says whether messages are safe on the Redis that a worker has. Nothing waits for that or ends by it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from redis_message_queue.server import ServerFacts, server_facts
from redis_message_queue.trouble import AWAY

if TYPE_CHECKING:
    from redis_message_queue.connection import ConnectionSettings

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0


def check_in_background(connection: ConnectionSettings) -> None:
    """Log once what is wrong with the server, as soon as it answers: on a thread of its own."""
    threading.Thread(target=_check, args=(connection,), name="server-check", daemon=True).start()


def _check(connection: ConnectionSettings) -> None:
    while True:
        try:
            with connection.connect() as client:
                facts = server_facts(client)
        except AWAY:  # which the claim loop tells of
            time.sleep(AGAIN_SECONDS)
            continue
        except Exception:
            log.debug("the server cannot be asked whether messages are safe there", exc_info=True)
            return
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
