"""A TCP proxy for servers that speak unasked: it knows requests, and passes on whatever comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

Request = list[bytes]
Rule = Callable[[Request], bytes | None]
"""What is answered in the server's place, one of the cuts, or None."""

CUT_BEFORE, CUT_AFTER = b"cut before", b"cut after"
"""The connection breaks before the server has the request, or where its answer should come."""


class PushProxy:
    """Forwards loopback connections to `port`; an async context manager, in the loop of the test."""

    def __init__(self, port: int, rule: Rule) -> None:
        self._port = port
        self._rule = rule
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> PushProxy:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        mute = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(client, to_server, to_client, mute))
                both.create_task(_replies(server, to_client, mute))
        except* (OSError, EOFError):
            pass
        finally:
            for writer in (to_client, to_server):
                writer.close()

    async def _requests(
        self,
        client: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        to_client: asyncio.StreamWriter,
        mute: asyncio.Event,
    ) -> None:
        while True:
            raw, request = await _request(client)
            match self._rule(request):
                case None:
                    to_server.write(raw)
                case found if found == CUT_BEFORE:
                    raise EOFError
                case found if found == CUT_AFTER:
                    mute.set()
                    to_server.write(raw)
                case answer:
                    with contextlib.suppress(ConnectionError):
                        to_client.write(answer)
                        await to_client.drain()


async def _request(client: asyncio.StreamReader) -> tuple[bytes, Request]:
    raw = await client.readuntil(b"\r\n")
    words = []
    for _ in range(int(raw[1:])):
        head = await client.readuntil(b"\r\n")
        word = await client.readexactly(int(head[1:]) + 2)
        words.append(word[:-2])
        raw += head + word
    return raw, words


async def _replies(
    server: asyncio.StreamReader, to_client: asyncio.StreamWriter, mute: asyncio.Event
) -> None:
    while data := await server.read(65536):
        if mute.is_set():
            break
        to_client.write(data)
        await to_client.drain()
    raise EOFError
