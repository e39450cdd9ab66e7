"""Thousands of odd messages and records: each is read or refused as documented, and shown without a crash."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - resolved when the decoder is made
from decimal import Decimal  # noqa: TC003
from random import Random
from typing import TypedDict

import pytest
from tests.support.odd_payloads import odd_payload

from redis_message_queue import looking, stats
from redis_message_queue.envelope import decode, key_of, marker_of, unwrap
from redis_message_queue.exceptions import MalformedStoredMessageError
from redis_message_queue.keys import QueueKeys
from redis_message_queue.looking import Letter, moment_of
from redis_message_queue.results import read
from redisqueue_operator.cli.commands.queues.dlq import cut, told
from redisqueue_operator.cli.commands.queues.peek import Peeked
from redisqueue_operator.cli.options import as_json
from redisqueue_operator.cli.screen import one_line, table
from redisqueue_operator.redrive import match
from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.payload import decoder_for

PAYLOADS = int(os.environ.get("REDISQUEUE_FUZZ_PAYLOADS", "20000"))
SEED = int(os.environ.get("REDISQUEUE_FUZZ_SEED", "1"))
KEYS = QueueKeys("jobs")


@dataclass
class Order:
    name: str
    count: int
    parts: list[int] | None = None
    when: datetime | None = None
    price: Decimal | None = None


class Loose(TypedDict, total=False):
    a: int
    name: str | float


# A handler's parameter may be of these, and what fits none of them becomes a dead letter by InvalidPayload.
DECODERS = [decoder_for(kind) for kind in (str, bytes, dict, list, Order, Loose, dict[str, float])]


def test_each_is_read_or_refused_and_shown() -> None:
    random = Random(SEED)
    for number in range(PAYLOADS):
        stored = odd_payload(random)
        try:
            is_read(stored)
            is_shown(stored)
            is_passed_over(stored)
        except Exception as error:
            error.add_note(f"payload {number} of seed {SEED}: {stored[:500]!r}")
            raise


def is_read(stored: bytes) -> None:
    """By the library and by a worker: what is raised is documented, and its text can be told."""
    message = decode(stored)
    for value in (stored, stored.decode(errors="replace")):
        marker_of(KEYS, value).encode()
        key_of(value)
        with suppress(MalformedStoredMessageError):
            unwrap(value)
    for convert in DECODERS:
        try:
            convert(message.payload)
        except InvalidPayload as refusal:
            str(refusal).encode()


def is_shown(stored: bytes) -> None:
    """By peek and dlq, whatever a record says: printable, and nothing that a terminal would obey."""
    peeked = Peeked.of(None, stored)
    texts = [one_line(peeked.payload), *table(["ID"], [[peeked.message_id or "-"]])]
    for record in (b"", stored, stored.partition(b":")[2]):
        letter = looking._letter(peeked.payload, record)
        texts += [cut(letter.payload), *told(letter), as_json([letter])]
    for text in (*texts, as_json([peeked])):
        text.encode()
        assert "\x1b" not in text
        assert "\x07" not in text


def is_passed_over(stored: bytes) -> None:
    """As a worker's report, a redrive's record or a result: what is none says nothing."""
    stats._worker_state("worker", stored, 0)
    match._record(stored)
    looking.lane_told(stored)
    with suppress(ValueError):
        read(stored)


@pytest.mark.parametrize("text", ['{"v":1,"slots":1e999,"busy":0,"at":9}', '{"v":' * 5000])
def test_a_report_that_no_worker_writes_is_none(text: str) -> None:
    assert stats._worker_state("worker", text, 0) is None


def test_what_a_terminal_would_obey_is_escaped() -> None:
    letter = Letter("a\x1b[2J", message_id="\x1b]0;x\x07", reason="one\ntwo\x1b", worker="w\u202e")
    lines = "\n".join([*told(letter), *table(["ID"], [[letter.message_id]])])
    assert "\x1b" not in lines
    assert "\u202e" not in lines
    assert "one\ntwo" in lines


def test_a_time_beyond_any_is_the_last() -> None:
    assert moment_of(1e300).year == 9999
    assert moment_of(float("-inf")).year == 1
