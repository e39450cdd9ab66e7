"""Numbers and times as status shows them: rounded, so that noise is not worth a write."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def rounded(count: int) -> int:
    """Exact up to 99, two significant digits beyond; nothing but zero is shown as zero."""
    return int(significant(float(count)))


def significant(value: float) -> float:
    """Two significant digits; whole numbers from ten on."""
    if value == 0:
        return 0.0
    digits = 1 - math.floor(math.log10(abs(value)))
    return round(value, digits)


def timestamp(seconds: float) -> str:
    """RFC 3339 in whole seconds, from seconds since the epoch."""
    return datetime.fromtimestamp(math.floor(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
