"""Messages as anybody might store them: bytes, JSON, envelopes, and what is nearly one. By a seed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from redis_message_queue.envelope import PREFIX, encode

if TYPE_CHECKING:
    from random import Random

_JSON = (
    '{"a": 1}',
    "[]",
    "{}",
    "null",
    '""',
    "1e999",
    "-1e999",
    "NaN",
    "9" * 5000,
    "1" + "0" * 400,
    "[" * 3000,
    '{"a":' * 3000,
    '{"a": {"a": {}}}',
    '{"id": 1}',
    '{"a": 1, "a": 2}',
    '"\\ud83d"',
    '{"\\ud83d": 1}',
    "tru",
    '{"name": "x", "count": 3, "parts": [1, 2]}',
    '{"name": 5, "count": "3"}',
    '{"__class__": "os", "count": 1e400}',
    '{"name": "x", "count": 1e308, "parts": null}',
    '{"name": "\\u0000", "count": 2.0}',
    '{"when": "9999-99-99"}',
    '{"name": "x", "count": 1, "when": "0000-01-01T00:00:00Z", "price": "1e1000000000"}',
    '{"price": 1e-400}',
)
_PARTS = (
    '{"id":"',
    '","payload":"',
    '"}',
    '{"id":"a","payload":"b"}',
    '"payload_hex":"',
    "zz",
    '"id":null',
    '"id":[]',
    '"lane":"0"',
    '"key":"\\ud83d"',
    '"key":""',
    '{"id":"\\u001b[2J","payload":"\\u001b]0;x\\u0007"}',
    "\\",
    "\n",
    '{"id":"\\ud83d","payload":"\\udc00"}',
    '{"id":"a","payload_hex":"0"}',
    '{"id":"a","payload":1}',
    "raw-",
    ",",
)


def odd_payload(random: Random) -> bytes:
    """One more stored value."""
    kind = random.randrange(6)
    if kind == 0:
        return random.randbytes(random.randrange(40))
    if kind == 1:
        return random.choice(_JSON).encode()
    if kind == 2:
        return (PREFIX + "".join(random.choices((*_PARTS, *_JSON[:6]), k=random.randrange(4)))).encode()
    text = random.choice(_JSON) if kind == 3 else json.dumps(random.choice((*_PARTS, *_JSON[:6])))
    name = random.choice((None, "a", "raw-1", "\x1b[2J", "é", "x" * 300))
    lane, key = random.choice((None, "0", "2k", "")), random.choice((None, "", "k"))
    whole = encode(text, name, lane=lane, key=key).encode()
    return whole if kind == 4 else mutated(random, whole)


def mutated(random: Random, whole: bytes) -> bytes:
    """It with some bytes changed, cut or twice."""
    found = bytearray(whole)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(found) + 1)
        match random.randrange(4):
            case 0:
                found[at : at + 1] = random.randbytes(1)
            case 1:
                del found[at:]
            case 2:
                found[at:at] = found[: random.randrange(len(found) + 1)]
            case _:
                del found[at : at + random.randrange(1, 9)]
    return bytes(found)
