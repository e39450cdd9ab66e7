"""A payload as it is on a queue, with what producers may say beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from redis_message_queue.envelope import PayloadLimits
from redis_message_queue.payload import written
from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.headers import ENQUEUED_AT, TYPE
from redisqueue_worker.logs import type_name
from redisqueue_worker.payload import parse
from redisqueue_worker.testing.fake_context import with_zone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def with_fields(
    payload: object,
    *,
    type: str | None = None,  # noqa: A002  (the name of the field)
    enqueued_at: datetime | None = None,
    trace: Mapping[str, str] | None = None,
) -> bytes:
    """The payload as a worker gets it from Redis, with what producers may say beside it."""
    text = written(payload, PayloadLimits())
    fields = dict(trace or {})
    if type is not None:
        fields[TYPE] = type
    if enqueued_at is not None:
        fields[ENQUEUED_AT] = with_zone(enqueued_at).isoformat()
    if fields:
        try:
            value = parse(text)
        except InvalidPayload:
            value = text
        if not isinstance(value, dict):
            names, kind = ", ".join(fields), type_name(value)
            raise TypeError(f"{names}: fields of the payload, which is no JSON object but of type {kind}")
        text = json.dumps({**value, **fields})
    return text.encode() if isinstance(text, str) else text
