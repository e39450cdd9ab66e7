"""After how long the messages of a killed worker are handled by another one, with the defaults of each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.bench.entries import SCENARIOS, Entry
from tests.bench.worker_process import Failed, heard, result_of, running, start

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Sequence

Result = dict[str, Any]
LIMIT_SECONDS = 400.0


def comes_back(entry: Entry, url: str) -> Result:
    """SIGKILL to a worker that has 16 in hand, beside an idle one. Raises Failed."""
    load = SCENARIOS["killed"]
    result_of(start(entry, "fill", url, load.slots, load))
    with running(entry, "hold", url, load.slots, load) as holding:
        heard(holding)
        with running(entry, "take", url, 1, load, LIMIT_SECONDS) as idle:
            # It is up when it has handled a message that the first has no slot for.
            result_of(start(entry, "fill", url, 1, load))
            heard(idle)
            holding.kill()
            killed = time.perf_counter()
            after = []
            for _ in range(load.slots):
                heard(idle)
                after.append(time.perf_counter() - killed)
    return {"first_s": after[0], "last_s": after[-1], "messages": len(after)}


def compete(entries: Sequence[Entry]) -> list[Result]:
    """All at the same time, each with a server of its own: they wait for nearly all of it."""

    def one(entry: Entry) -> Result:
        about = {"who": entry.name, "what": "killed", "repetition": 0}
        with EmbeddedRedis() as server:
            try:
                return {**about, **comes_back(entry, server.url)}
            except Failed as problem:
                return {**about, "problem": str(problem)}

    with ThreadPoolExecutor(len(entries)) as threads:
        return list(threads.map(one, entries))
