"""Handlers that take a Struct of msgspec."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.headers import sparing
from redisqueue_worker.payload import decoder_for


class Inner(msgspec.Struct):
    at: dt.datetime


class Job(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    job_id: int
    inner: dict[str, Inner] = {}


class Loose(msgspec.Struct):
    number: int


class Unknown(msgspec.Struct):
    it: Nowhere  # type: ignore[name-defined]  # noqa: F821


def test_a_payload_becomes_a_struct() -> None:
    job = decoder_for(Job)('{"jobId": 7, "inner": {"a": {"at": "2026-01-01T00:00:00Z"}}}')
    assert job == Job(7, {"a": Inner(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))})
    assert decoder_for(list[Loose])(b'[{"number": 1, "more": 2}]') == [Loose(1)]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("[]", "no valid Job"),
        ('{"jobId": "secret"}', "no valid Job at $.jobId"),
        ('{"jobId": 1, "inner": {"secret": {"at": "secret"}}}', "no valid Job at $.inner[...].at"),
        ('{"jobId": 1, "secret": 1}', "no valid Job"),
    ],
)
def test_a_misfit_is_named_without_its_content(payload: str, said: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        decoder_for(Job)(payload)
    assert str(refused.value) == said


def test_a_struct_that_nobody_can_make_is_refused_at_start() -> None:
    with pytest.raises(TypeError, match=r"JSON cannot fill .*Unknown: NameError"):
        decoder_for(Unknown)


def test_fields_of_ours_are_kept_from_a_struct_that_forbids_them() -> None:
    payload = '{"jobId": 7, "type": "job", "enqueued_at": "2026-01-01T00:00:00Z"}'
    assert sparing(Job, decoder_for(Job), typed=True)(payload) == Job(7)
    assert sparing(Loose, decoder_for(Loose), typed=True)('{"number": 1, "type": "x"}') == Loose(1)
