"""Workers that say how busy they are, as long as a test needs them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.waiting import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from redis_message_queue.consumer import Consumer


@contextlib.contextmanager
def reporting(busy: Mapping[Consumer, int], *, age_seconds: float = 1.0) -> Iterator[None]:
    """Have these workers report every half second: a single report is too old to shrink by after 10 s.

    `age_seconds` is that of the oldest handler of the busy ones.
    """

    def report(over: threading.Event) -> None:
        while True:
            for consumer, messages in busy.items():
                age = age_seconds if messages else None
                consumer.report(busy=messages, oldest_start_age_seconds=age, draining=False)
            if over.wait(0.5):
                return

    with beside(report):
        yield
