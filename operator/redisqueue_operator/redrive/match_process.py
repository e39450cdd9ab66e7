"""Matching in a process of its own: neither a slow expression nor large payloads hold the operator up."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redisqueue_operator.redrive.match import Match

SECONDS = 10.0
PART_BYTES = 1 << 16
# After more than that at a time, the process begins anew.
MOST_BYTES = 1 << 20
PROGRAM = "redisqueue_operator.redrive.match_program"


class MatchError(Exception):
    """Letters cannot be matched. `reason` is a word for a condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MatchProcess:
    """Calls a match elsewhere; an async context manager. `seconds` is how long one batch may take.

    The process that has been given a rest is started anew by the next call.
    """

    def __init__(self, match: Match, seconds: float = SECONDS) -> None:
        self._match = match
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> MatchProcess:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rest()

    async def rest(self) -> None:
        """End the process, until somebody calls."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._process = None

    async def _start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", PROGRAM)
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        self._send([getattr(self._match, part.name) for part in fields(self._match)])

    @property
    def pid(self) -> int | None:
        """Of the process; None before it was started."""
        return self._process.pid if self._process else None

    async def __call__(self, payloads: Sequence[bytes]) -> list[bool]:
        """For each payload whether it matches. Raises MatchError."""
        if self._process is None:
            await self._start()
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        try:
            async with asyncio.timeout(self._seconds):
                self._send([len(payload) for payload in payloads])
                for payload in payloads:
                    for start in range(0, len(payload), PART_BYTES):  # so that no copy of the whole is made
                        self._process.stdin.write(payload[start : start + PART_BYTES])
                        await self._process.stdin.drain()
                flags = await self._process.stdout.readexactly(len(payloads))
        except TimeoutError:
            text = f"spec.match took longer than {self._seconds:g} s for {len(payloads)} letters: simplify it"
            raise MatchError("MatchTooSlow", text) from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            text = "the process that matches ended, perhaps for want of memory: `redisqueue redrive` has more"
            raise MatchError("MatchEnded", text) from error
        if sum(map(len, payloads)) > MOST_BYTES:  # while the letter is moved there shall be no copy here
            await self.rest()
        return [bool(flag) for flag in flags]

    def _send(self, value: list[Any]) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(marshal.dumps(value))
