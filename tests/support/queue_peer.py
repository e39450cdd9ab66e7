"""A process that works on queues as its parent asks, one JSON line at a time, with whichever library it has.

It uses nothing but the API of redis-message-queue 7.0.0, so the same program runs on 7.0.0, 11.0.1 and ours;
what only some of them have is called by its name.
"""

import asyncio
import json
import logging
import sys
import warnings

import redis
import redis.asyncio

import redis_message_queue
import redis_message_queue.asyncio


class LossyRedis(redis.Redis):
    """The next `lose` replies are lost after the server has done the work."""

    lose = 0

    def execute_command(self, *args, **options):
        reply = super().execute_command(*args, **options)
        if self.lose:
            self.lose -= 1
            raise redis.ConnectionError("the reply was lost")
        return reply


class AsyncLossyRedis(redis.asyncio.Redis):
    """As `LossyRedis`, for asyncio."""

    lose = 0

    async def execute_command(self, *args, **options):
        reply = await super().execute_command(*args, **options)
        if self.lose:
            self.lose -= 1
            raise redis.ConnectionError("the reply was lost")
        return reply


FACES = {
    "sync": (redis_message_queue, LossyRedis),
    "async": (redis_message_queue.asyncio, AsyncLossyRedis),
}
KEY_FUNCTIONS = {
    "prefix": lambda message: str(message).partition(":")[0],
    "suffix": lambda message: str(message).partition(":")[2],
}


class Peer:
    """Queues and open blocks by number."""

    def __init__(self, url):
        self.queues = []
        self.clients = []
        self.gateways = []
        self.shared = {face: client.from_url(url) for face, (_, client) in FACES.items()}
        self.blocks = {}
        self.abandoned = []

    async def open(self, face, name, gateway=None, **options):
        """A queue, over a gateway if options for one are given; its number."""
        package, client = FACES[face][0], self.shared[face]
        if options.get("get_deduplication_key"):
            options["get_deduplication_key"] = KEY_FUNCTIONS[options["get_deduplication_key"]]
        made = None if gateway is None else package.RedisGateway(redis_client=client, **gateway)
        options.update({"client": client} if made is None else {"gateway": made})
        self.gateways.append(made)
        client.lose = 0
        self.clients.append(client)
        self.queues.append(package.RedisMessageQueue(name, **options))
        return len(self.queues) - 1

    async def names(self, module):
        """The public names of a module."""
        return list(sys.modules[module].__all__)

    async def publish(self, queue, messages):
        return [await done(self.queues[queue].publish(message)) for message in messages]

    async def enter(self, queue):
        """Begin a block; the payload as text, or None (then the block has ended)."""
        block = self.queues[queue].process_message()
        payload = await (block.__aenter__() if hasattr(block, "__aenter__") else done(block.__enter__()))
        if payload is None:
            await leave(block, None)
            return None
        text = payload.decode() if isinstance(payload, bytes) else payload
        self.blocks.setdefault((queue, text), []).append(block)
        return text

    async def leave(self, queue, payload, failing=False, place=0):
        """End a block, of those with this payload the one at `place`; the warnings that this brought."""
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always")
            await leave(self.blocks[queue, payload].pop(place), ValueError("failing") if failing else None)
        return [str(warning.message) for warning in issued]

    async def abandon(self, queue, payload, place=0):
        """Never end a block."""
        self.abandoned.append(self.blocks[queue, payload].pop(place))

    async def lose(self, queue, count):
        self.clients[queue].lose = count

    async def call(self, queue, of, method, args, kwargs):
        """A method by its name."""
        target = self.gateways[queue] if of == "gateway" else self.queues[queue]
        return plain(await done(getattr(target, method)(*args, **kwargs)))

    async def drain(self, queue):
        return await done(self.queues[queue].drain())


def plain(value):
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "pending"):  # of a kind of its own in each library
        return {name: getattr(value, name) for name in dir(value) if isinstance(getattr(value, name), int)}
    return [plain(one) for one in value] if isinstance(value, list) else value


async def done(value):
    """The value, awaited if it has to be."""
    return await value if hasattr(value, "__await__") else value


async def leave(block, error):
    kind = None if error is None else type(error)
    if hasattr(block, "__aexit__"):
        await block.__aexit__(kind, error, None)
    else:
        block.__exit__(kind, error, None)


async def main(url):
    """Answer requests until there are no more: `{"answer": …}`, or `{"error": <class>}`."""
    peer, loop = Peer(url), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = {"answer": await getattr(peer, request.pop("do"))(**request)}
        except Exception as error:
            cause = error.__cause__ and f" (because of {error.__cause__!r})"
            answer = {"error": type(error).__name__, "text": f"{error}{cause or ''}"}
        print(json.dumps(answer), flush=True)


logging.disable()  # faults are asked for here
asyncio.run(main(sys.argv[1]))
