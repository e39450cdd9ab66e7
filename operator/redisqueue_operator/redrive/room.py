"""The memory for large letters, which all redrives of an operator share."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from weakref import WeakValueDictionary


class Room:
    """So many bytes of large letters may be in memory at once; who came first is served first.

    Those of one server stand in one line before they stand in that of all: however many they are, another
    server's letter waits for two at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.free = size
        """Bytes that nobody has."""
        self._line = asyncio.Lock()
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._given_back = asyncio.Event()

    def has(self, size: int) -> bool:
        """Whether nobody needs to wait for so much."""
        return self.free >= size and not self._line.locked()

    async def take(self, size: int, server: str) -> None:
        """Wait for that much. Raises ValueError for more than there is in all."""
        if size > self._size:
            raise ValueError(f"'size' must be <= {self._size}, got {size}")
        line = self._lines.setdefault(server, asyncio.Lock())
        async with line, self._line:
            while self.free < size:
                self._given_back.clear()
                await self._given_back.wait()
            self.free -= size

    def give(self, size: int) -> None:
        """Let others have it."""
        self.free += size
        self._given_back.set()


class LargeLetter(AbstractContextManager["LargeLetter"]):
    """What one redrive has of the room: as much as its present letter needs, or nothing."""

    def __init__(self, room: Room, server: str) -> None:
        self._room = room
        self._server = server
        self._size = 0

    def __exit__(self, *_: object) -> None:
        self.give()

    async def take(self, size: int) -> None:
        """Wait for that much."""
        await self._room.take(size, self._server)
        self._size = size

    def give(self) -> None:
        """It is in memory no more."""
        self._room.give(self._size)
        self._size = 0
