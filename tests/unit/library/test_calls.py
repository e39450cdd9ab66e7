"""Operations as plain data: what is sent, and how replies of any client are read."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redis_message_queue import _transport, operations
from redis_message_queue.operations import script


class CannedClient:
    """A duck-typed client that offers `eval` alone."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.calls: list[tuple[Any, ...]] = []

    def eval(self, *args: Any) -> Any:
        self.calls.append(args)
        return self.reply


class CannedAsyncClient(CannedClient):
    async def eval(self, *args: Any) -> Any:
        return super().eval(*args)


def claim() -> operations.Call[operations.ClaimResult]:
    return operations.claim_leased(pending="p", processing="q", claim_id="c", visibility_timeout_ms=1000)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (None, operations.ClaimResult(None, None)),
        ([b"m", b"7"], operations.ClaimResult(b"m", "7")),
        (["m", "7"], operations.ClaimResult("m", "7")),
        (["m", "7", 0, 0], operations.ClaimResult("m", "7")),
        (
            [b"m", b"7", b"2", b"1"],
            operations.ClaimResult(b"m", "7", (operations.Passed(),) * 2, (operations.Passed(),)),
        ),
        (
            [b"", b"", b"1", b"1", b"", b"", b"i", b"3", b"", b""],
            operations.ClaimResult(None, None, (operations.Passed("i", 3),), (operations.Passed(),)),
        ),
        ([b"", b"", b"0", b"0", b"why", b""], operations.ClaimResult(None, None, (), (), "why")),
        ([b"m", b"7", b"0", b"0", b"", b"2"], operations.ClaimResult(b"m", "7", delivery_count=2)),
        (b"7 2\nm\nn", operations.ClaimResult(b"m\nn", "7", delivery_count=2)),
        ("7 \nm", operations.ClaimResult("m", "7")),
    ],
)
def test_claim_reply_is_read_as_bytes_or_text_short_or_long(
    reply: Any, expected: operations.ClaimResult
) -> None:
    assert _transport.execute(CannedClient(reply), claim()) == expected


async def test_duck_typed_clients_get_exactly_one_plain_eval() -> None:
    call = claim()
    expected = (call.script.text, len(call.keys), *map(operations.as_text, call.keys), *call.args, *call.tail)
    blocking, loop_bound = CannedClient(None), CannedAsyncClient(None)
    _transport.execute(blocking, call)
    await _transport.execute_async(loop_bound, call)
    assert blocking.calls == loop_bound.calls == [expected]


@pytest.mark.parametrize("reply", [1, [1]])
def test_one_renewal_may_be_answered_without_a_list(reply: Any) -> None:
    call = operations.renew(processing="q", stored="m", lease_token="1", visibility_timeout_ms=1)
    assert _transport.execute(CannedClient(reply), call) is True


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'["m","7"]', ("m", "7")),
        ('["a\\/b","7","extra"]', ("a/b", "7")),
        (None, None),
        (b"", None),
        (b"\xff", None),
        (b"{}", None),
        (b'["m"]', None),
        (b'["m",7]', None),
        ("not json", None),
    ],
)
def test_a_damaged_claim_record_is_a_miss(record: Any, expected: tuple[str, str] | None) -> None:
    assert operations.parse_claim_record(record) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WRONGTYPE a is a string", "WRONGTYPE a is a string"),
        ("OOM during publish; x", "OOM during publish; x"),
        ("OOM command not allowed", None),
        ("unknown command", None),
    ],
)
def test_own_script_errors_are_told_from_the_servers(text: str, expected: str | None) -> None:
    assert operations.script_failure(ResponseError(text)) == expected


def test_every_script_says_its_keys_arguments_reply_and_cost() -> None:
    folder = files("redis_message_queue") / "scripts"
    names = [path.name.removesuffix(".lua") for path in folder.iterdir() if path.name.endswith(".lua")]
    assert "publish" in names
    for name in names:
        body = script(name).text
        header = body[body.rindex("\n-- KEYS") :]
        assert "-- reply" in header, name
        assert "-- cost" in header, name


def test_the_page_says_of_each_module_what_it_is_for() -> None:
    folder = files("redis_message_queue")
    page = (folder / "README.md").read_text(encoding="utf-8")
    section = page.split("\n## Where to change what\n")[1].split("\n## ")[0]
    named = {name for name in re.findall(r"`(\w+)`", section) if name != "Consumer"}
    modules = {path.name.removesuffix(".py") for path in folder.iterdir() if path.name.endswith(".py")}
    assert named == modules - {"__init__"}
