"""How far a call travels: which functions of the library it enters, in how many modules.

    .venv/bin/python -m tests.bench.hops [--names]

Each operation runs a few times first: what is done once (loading scripts, packing names) is not counted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

import redis_message_queue
from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from redis_message_queue.consumer import Claim

LIBRARY = Path(redis_message_queue.__file__).parent


class Hops:
    """The functions that were entered while it was active, how often, and their modules."""

    def __init__(self) -> None:
        self.calls: dict[CodeType, int] = {}

    def __enter__(self) -> Hops:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        # Built-in code of a module's body and generated methods of dataclasses have no file of their own.
        if event == "call" and Path(code.co_filename).is_relative_to(LIBRARY):
            self.calls[code] = self.calls.get(code, 0) + 1

    @property
    def modules(self) -> set[str]:
        """The modules of the functions, by their paths in the library."""
        return {str(Path(code.co_filename).relative_to(LIBRARY)) for code in self.calls}


def of_a_queue(client: redis.Redis, name: str) -> dict[str, Callable[[], object]]:
    """What a queue object does, by name; each can be called again and again."""
    numbers = iter(range(1_000_000))
    queue = RedisMessageQueue(name, client=client)
    plain = RedisMessageQueue(name, client=client, deduplication=False)

    def process_message() -> None:
        with queue.process_message() as payload:
            assert payload is not None

    return {
        "publish": lambda: queue.publish(str(next(numbers))),
        "publish without deduplication": lambda: plain.publish(str(next(numbers))),
        "enqueue": lambda: queue.enqueue(str(next(numbers))),
        "process_message": process_message,
    }


def of_a_consumer(client: redis.Redis, name: str) -> dict[str, Callable[[], object]]:
    """The same of a consumer."""
    consumer = Consumer(client, name)
    claims: tuple[Claim, ...] = ()
    RedisMessageQueue(name, client=client).publish_many([str(number) for number in range(100)])

    def settle_and_claim() -> None:
        nonlocal claims
        done = [Settlement(claim, Outcome.DONE) for claim in claims]
        claims = consumer.settle(done, claim=1).claimed.claims

    return {"settle and claim": settle_and_claim}


def walked(operation: Callable[[], Any]) -> Hops:
    """The way of one call, the fourth."""
    for _ in range(3):
        operation()
    with Hops() as hops:
        operation()
    return hops


def main() -> None:
    """Print one line for each operation; with `--names` its functions as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--names", action="store_true", help="name the functions, and how often each is entered"
    )
    names = parser.parse_args().names
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        for name, operation in {**of_a_queue(client, "hops"), **of_a_consumer(client, "batches")}.items():
            hops = walked(operation)
            entered = sum(hops.calls.values())
            print(
                f"{name}: {len(hops.calls)} functions in {len(hops.modules)} modules, entered {entered} times"
            )
            for code, times in hops.calls.items() if names else ():
                path = Path(code.co_filename).relative_to(LIBRARY)
                print(f"    {path}: {code.co_qualname}" + (f" x{times}" if times > 1 else ""))


if __name__ == "__main__":
    main()
