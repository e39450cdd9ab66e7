"""`python -m tests.simulate.record URL QUEUE FILE`: a queue's arrivals as a file for `make simulate`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

import redis
from tests.simulate.trace import Seen, rows_of, write

from redis_message_queue.keys import QueueKeys
from redis_message_queue.stats import sample


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate.record", description=__doc__)
    parser.add_argument("url", help="of Redis, as in redis://localhost:6379/0")
    parser.add_argument("queue", help="name of the queue")
    parser.add_argument("file", type=Path, help="where to write")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how long (default: 600); Ctrl-C ends it"
    )
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two looks (default: 0.2)")
    options = parser.parse_args()
    keys = QueueKeys(options.queue)
    seen: list[Seen] = []
    end = time.monotonic() + options.seconds
    try:
        with redis.Redis.from_url(options.url) as client, contextlib.suppress(KeyboardInterrupt):
            while time.monotonic() < end:
                seen.append(_look(client, keys))
                time.sleep(options.every)
        rows = rows_of(seen)
    except (redis.RedisError, ValueError) as error:
        print(f"record: {error}", file=sys.stderr)
        return 1
    write(options.file, rows)
    print(f"{options.file}: {sum(row.arrivals for row in rows)} messages in {len(rows)} lines")
    return 0


def _look(client: redis.Redis, keys: QueueKeys) -> Seen:
    """Raises redis.RedisError when the queue cannot be read."""
    seen = sample(client, [keys])[0]
    if isinstance(seen, Exception):
        raise seen
    waiting = seen.pending + seen.delayed_due
    return Seen(seen.time_ms / 1000, seen.claims_total or 0, waiting, seen.in_flight)


if __name__ == "__main__":
    sys.exit(main())
