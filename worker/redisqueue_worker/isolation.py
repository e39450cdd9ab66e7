"""What one handler sets in its context, the handler of the next message must not see.

Each message is handled in a copy of its slots' context, in which start-up hooks ran. A copy shares the
objects that variables hold, though, and some libraries keep one that is meant to be changed.
"""

from __future__ import annotations

import decimal
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_NOTHING: AbstractContextManager[Any] = nullcontext()


def own_state() -> AbstractContextManager[Any]:
    """Give the current context a decimal context of its own, and for the `with` block a Sentry scope."""
    decimal.setcontext(decimal.getcontext().copy())
    scope = getattr(sys.modules.get("sentry_sdk"), "isolation_scope", None)
    return scope() if scope else _NOTHING
