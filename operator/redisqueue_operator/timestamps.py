"""Times as Kubernetes writes them."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime


def timestamp(moment: float | datetime) -> str:
    """RFC 3339 in whole seconds, from seconds since the epoch or a time with its zone."""
    seconds = moment.timestamp() if isinstance(moment, datetime) else moment
    return f"{datetime.fromtimestamp(math.floor(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment_of(text: object) -> datetime | None:
    """The time that a status names; None where it names none.

    An API server takes more for a time than Python does: `2027-01-15t08:00:00z`, an offset of 99 hours.
    """
    with contextlib.suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(str(text).upper())
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    return None
