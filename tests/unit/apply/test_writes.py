"""The shape of writes: the smallest patch, the rate limit, what counts as somebody else's change."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.support.resources import redis_queue
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_operator.apply.writer import TokenBucket, Writer, merge_patch
from redisqueue_operator.decide.children.identity import belongs_to
from redisqueue_operator.decide.status import EventRecord
from redisqueue_operator.kubernetes_api import ApiError
from redisqueue_operator.kubernetes_platform import fingerprint, is_refusal


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}, {"a": {"c": None, "d": 3}}),
        ({"a": [1, 2]}, {"a": [2]}, {"a": [2]}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
    ],
)
def test_a_patch_holds_what_changed_and_what_is_gone(
    old: dict[str, Any], new: dict[str, Any], patch: dict[str, Any]
) -> None:
    assert merge_patch(old, new) == patch


async def test_a_burst_passes_and_the_rest_waits_its_turn() -> None:
    slow = TokenBucket(per_second=0.001, burst=10)
    await asyncio.gather(*(slow.take() for _ in range(10)))
    bucket = TokenBucket(per_second=100, burst=10)
    started = time.monotonic()
    await asyncio.gather(*(bucket.take() for _ in range(30)))
    assert time.monotonic() - started > 0.15


async def test_who_is_asked_for_a_rest_pauses_and_starts_again_slowly() -> None:
    bucket = TokenBucket(per_second=100, burst=50)
    bucket.pause(0.3)
    bucket.pause(0.1)  # of two wishes the longer one counts
    started = time.monotonic()
    await bucket.take()
    assert time.monotonic() - started > 0.25
    await asyncio.gather(*(bucket.take() for _ in range(20)))
    assert time.monotonic() - started > 0.45, "a burst right after the rest"


async def test_no_rest_is_longer_than_half_a_minute_whatever_is_asked() -> None:
    now = [0.0]
    bucket = TokenBucket(per_second=100, burst=1, clock=lambda: now[0])
    bucket.pause(86_400)
    now[0] = 30.0
    await asyncio.wait_for(bucket.take(), PATIENCE_SECONDS)


def test_who_finds_no_token_takes_none_and_waits_for_nothing() -> None:
    now = [0.0]
    bucket = TokenBucket(per_second=2, burst=3, clock=lambda: now[0])
    assert [bucket.take_now() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 0.6
    assert [bucket.take_now() for _ in range(2)] == [True, False], "there is no debt"
    bucket.pause(2.0)
    now[0] = 2.5
    assert not bucket.take_now()
    now[0] = 3.2
    assert bucket.take_now()


def deployment(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "1", "resourceVersion": "1", "annotations": {"a": "b"}, "labels": {"x": "y"}},
        "spec": {"replicas": 1, "template": {}, **spec},
        "status": {},
    }


def test_scaling_and_status_are_nobodys_interference_and_a_template_is() -> None:
    base = deployment()
    scaled = {**deployment(replicas=7), "status": {"readyReplicas": 7}}
    assert fingerprint(scaled) == fingerprint(base)
    assert fingerprint(deployment(template={"other": 1})) != fingerprint(base)
    assert fingerprint(None) != fingerprint(base)


def test_a_deployment_belongs_to_its_controller_else_to_the_queue_of_its_labels() -> None:
    rq = redis_queue("orders")
    mine = {"metadata": {"ownerReferences": [{"controller": True, "uid": "uid-orders"}]}}
    other = {"metadata": {"ownerReferences": [{"controller": True, "uid": "v"}]}}
    labels = {"redisqueue.dev/queue": "orders"}
    marks = {"annotations": {"redisqueue.dev/owner-uid": "gone"}, "labels": labels}
    orphan, foreign = {"metadata": marks}, {"metadata": {"labels": labels}}
    assert [belongs_to(each, rq) for each in (mine, other, orphan, foreign, {"metadata": {}})] == [
        *(True, False, True, False, False)
    ]


@pytest.mark.parametrize(
    ("status", "text", "lasting"),
    [
        (422, "spec.template: Invalid value", True),
        (403, "exceeded quota", True),
        (500, "failed to create typed patch object: .spec.x: field not declared in schema", True),
        (500, 'Internal error occurred: failed calling webhook "policy": connection refused', True),
        (500, "etcdserver: request timed out", False),
        (500, "etcdserver: leader changed", False),
        (500, "context deadline exceeded", False),
        (503, "apiserver is shutting down", False),
        (409, "the object has been modified", False),
    ],
)
def test_only_what_would_be_refused_again_is_a_refusal(status: int, text: str, lasting: bool) -> None:
    assert is_refusal(ApiError(status, "Reason", text)) is lasting


class Recorder:
    """An API server that takes every write."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def now(self) -> float:
        return 0.0

    async def request(self, _method: str, _path: str, *, body: dict[str, Any], **_: Any) -> None:
        self.bodies.append(body)


@pytest.mark.parametrize("letter", ["a", "ä", "语", "😀"])
async def test_the_note_of_an_event_has_no_more_bytes_than_a_server_takes(letter: str) -> None:
    api: Any = Recorder()
    record = EventRecord("Warning", "PodsFailing", letter * 2000, "Observe")
    await Writer(api, instance="operator").event(redis_queue().raw | {"metadata": _IDENTITY}, record)
    note = api.bodies[0]["note"]
    assert 1020 < len(note.encode()) <= 1024
    assert note == letter * len(note)


_IDENTITY = {"namespace": "default", "name": "emails", "uid": "u", "resourceVersion": "1"}
