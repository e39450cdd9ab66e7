"""Matching in a process of its own: the same answers, and an end to what takes too long."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from redisqueue_operator.redrive.match import Match
from redisqueue_operator.redrive.match_process import MatchError, MatchProcess

ENDLESS = Match(pattern=r"^(a+)+$")


async def test_the_answers_are_those_of_the_match() -> None:
    match = Match(pattern="o", field="type", equals="a")
    batches = [[b'{"type": "a", "x": "o"}', b"o", b"\xff"], [], [b'{"type": "a"}' * 5] * 100]
    async with MatchProcess(match) as process:
        for batch in batches:
            assert await process(batch) == match(batch)


async def test_what_takes_too_long_ends_and_the_loop_goes_on_meanwhile() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with MatchProcess(ENDLESS, seconds=3) as process:
        with pytest.raises(MatchError, match=r"spec.match took longer than 3 s for 1 letters") as raised:
            await process([b"a" * 60 + b"!"])
    assert raised.value.reason == "MatchTooSlow"
    assert ticks >= 5
    ticking.cancel()


async def test_a_letter_that_would_take_too_much_memory_ends_the_process_alone() -> None:
    async with MatchProcess(Match(field="a", equals="b")) as process:
        assert await process([b'{"a": "b"}']) == [True]
        with pytest.raises(MatchError, match=r"ended, perhaps for want of memory: `redisqueue redrive`"):
            await process([b"[" + b"[]," * (8 << 20) + b"[]]"])
        await process.rest()
        assert await process([b'{"a": "b"}']) == [True]


async def test_a_process_that_ends_is_told() -> None:
    async with MatchProcess(Match(pattern="a")) as process:
        assert await process([b"a"]) == [True]
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(MatchError, match="ended") as raised:
            await process([b"a"])
    assert raised.value.reason == "MatchEnded"
