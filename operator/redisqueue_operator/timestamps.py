"""Times as Kubernetes writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def timestamp(moment: float | datetime) -> str:
    """RFC 3339 in whole seconds, from seconds since the epoch or a time with its zone."""
    seconds = moment.timestamp() if isinstance(moment, datetime) else moment
    return f"{datetime.fromtimestamp(math.floor(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
