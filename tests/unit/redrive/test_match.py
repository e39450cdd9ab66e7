"""Which payloads a redrive takes."""

from __future__ import annotations

import hashlib
import json

import pytest

from redisqueue_operator.redrive.match import Match


def record(payload: bytes, reason: str) -> bytes:
    return json.dumps({"digest": hashlib.sha1(payload).hexdigest(), "reason": reason}).encode()


RECORDS = (record(b"late", "Timeout"), record(b"late", "Refused"), b"{}", b"no record", b"[1]", b"\xff")


@pytest.mark.parametrize(
    ("match", "payload", "fits"),
    [
        (Match(), b"anything", True),
        (Match(pattern="in.oice"), b'{"type": "invoice"}', True),
        (Match(pattern="^invoice$"), b'{"type": "invoice"}', False),
        (Match(pattern="é"), "café".encode(), True),
        (Match(pattern="b"), b"\xff b \x00", True),
        (Match(field="type", equals="invoice"), b'{"type": "invoice"}', True),
        (Match(field="type", equals="invoice"), b'{"type": "invoices"}', False),
        (Match(field="order.paid", equals="true"), b'{"order": {"paid": true}}', True),
        (Match(field="order.paid", equals="true"), b'{"order": {"paid": "true"}}', True),
        (Match(field="order.paid", equals="true"), b'{"order": 7}', False),
        (Match(field="id", equals="7"), b'{"id": 7}', True),
        (Match(field="id", equals="null"), b'{"id": null}', True),
        (Match(field="id", equals="null"), b"{}", False),
        (Match(field="id", equals=""), b'{"id": ""}', True),
        (Match(field="tags", equals='["a",1]'), b'{"tags": ["a", 1]}', True),
        (Match(field="id", equals="7"), b"[7]", False),
        (Match(field="id", equals="7"), b"id=7", False),
        (Match(field="id", equals="7"), b"[" * 100_000, False),
        (Match(pattern="x", field="id", equals="7"), b'{"id": 7}', False),
        (Match(reason="Time", records=RECORDS), b"late", True),
        (Match(reason="Refused", records=RECORDS), b"late", True),
        (Match(reason="^out", records=RECORDS), b"late", False),
        (Match(reason="", records=RECORDS), b"unknown", False),
        (Match(reason="Time", pattern="x", records=RECORDS), b"late", False),
        (Match(pattern="i", field="id", equals="7"), b'{"id": 7}', True),
    ],
)
def test_what_fits(match: Match, payload: bytes, fits: bool) -> None:
    assert match([payload, b"!"]) == [fits, match == Match()]


def test_only_a_match_that_asks_for_something_is_one() -> None:
    assert not Match()
    assert Match(pattern="")
    assert Match(field="a", equals="")
    assert Match(reason="")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pattern": "("}, r"'\(' is no regular expression: missing \)"),
        ({"reason": "["}, r"'\[' is no regular expression: unterminated"),
        ({"field": "a"}, "a field needs the value"),
    ],
)
def test_what_cannot_work_is_named(arguments: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Match(**arguments)
