"""kopf without the Kubernetes client beside it.

kopf takes the models of every client that is installed at its own import, in case somebody gives it such
objects; nobody does here. The client is some 17 MiB, and is imported where a login command needs it.
"""

from __future__ import annotations

import sys

_CLIENT = "kubernetes"
_hidden = _CLIENT not in sys.modules
if _hidden:
    sys.modules[_CLIENT] = None  # type: ignore[assignment]  # for an import: it is not installed
try:
    import kopf
finally:
    if _hidden:
        del sys.modules[_CLIENT]

__all__ = ["kopf"]
