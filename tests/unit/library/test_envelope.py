"""The envelope: what is written, and what is read from anything that lies in a list."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_message_queue.envelope import PREFIX, decode, encode


def test_stored_form_is_exactly_this() -> None:
    stored = encode('hi "é"', "0123456789abcdef0123456789abcdef")
    assert stored == '\x1eRMQ1:{"id":"0123456789abcdef0123456789abcdef","payload":"hi \\"\\u00e9\\""}'


def test_ids_are_fresh_hex() -> None:
    first, second = decode(encode("a")).id, decode(encode("a")).id
    assert first != second
    assert first is not None
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back(payload: str) -> None:
    assert decode(encode(payload)).payload == payload
    assert decode(encode(payload).encode()).payload == payload.encode()


@pytest.mark.parametrize(
    "stored",
    [
        "plain",
        "",
        PREFIX,
        PREFIX + "{",
        PREFIX + "[]",
        PREFIX + '"text"',
        PREFIX + '{"id":"a"}',
        PREFIX + '{"id":1,"payload":"x"}',
        PREFIX + '{"id":"a","payload":1}',
        PREFIX + '{"id":"a","payload_hex":"0g"}',
        PREFIX + "[" * 100_000,
        b"\xff\xfe",
        PREFIX.encode() + b'{"id":"a","payload":"\xff"}',
    ],
)
def test_what_is_no_envelope_passes_through(stored: str | bytes) -> None:
    assert decode(stored) == (None, stored)


def test_foreign_formatting_and_unknown_fields_are_accepted() -> None:
    assert decode(PREFIX + ' {"new": 1, "payload": "p",\n "id": "i"} ') == ("i", "p")


def test_binary_payload_comes_as_bytes_for_both_kinds_of_client() -> None:
    stored = PREFIX + '{"id":"i","payload_hex":"00ff"}'
    assert decode(stored) == ("i", b"\x00\xff")
    assert decode(stored.encode()) == ("i", b"\x00\xff")


@given(st.text('"\\},:{ udé\n\ud800' + "payload", max_size=40))
def test_what_looks_like_the_usual_form_is_read_as_the_json_that_it_is(inside: str) -> None:
    text = f'{{"id":"a","payload":"{inside}"}}'
    try:
        payload = json.loads(text)["payload"]
    except ValueError:
        payload = None
    expected = ("a", payload) if isinstance(payload, str) else (None, PREFIX + text)
    assert decode(PREFIX + text) == expected
