"""Claims whose outcome this process does not know: a claim was sent, and no reply came."""

from __future__ import annotations

import threading


class PendingClaims:
    """Claim ids by processing key, oldest first; an id is recovered by one caller at a time.

    The lock is never held across I/O, and is re-entrant because a signal handler may drain.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ids: dict[str, list[str]] = {}
        self._recovering: set[str] = set()

    def add(self, processing: str, claim_id: str) -> None:
        """Remember a claim of unknown outcome."""
        with self._lock:
            ids = self._ids.setdefault(processing, [])
            if claim_id not in ids:
                ids.append(claim_id)

    def take(self, processing: str, skip: frozenset[str] = frozenset()) -> str | None:
        """Reserve the oldest id that nobody is recovering; answer with `settle` or `put_back`."""
        with self._lock:
            for claim_id in self._ids.get(processing, ()):
                if claim_id not in self._recovering and claim_id not in skip:
                    self._recovering.add(claim_id)
                    return claim_id
        return None

    def put_back(self, claim_id: str) -> None:
        """End a reservation: the outcome is still unknown."""
        with self._lock:
            self._recovering.discard(claim_id)

    def settle(self, processing: str, claim_id: str) -> None:
        """End a reservation: the outcome is known."""
        with self._lock:
            self._recovering.discard(claim_id)
            ids = self._ids.get(processing, [])
            if claim_id in ids:
                ids.remove(claim_id)
            if not ids:
                self._ids.pop(processing, None)

    def waiting(self, processing: str) -> tuple[str, ...]:
        """The ids left for this processing key."""
        with self._lock:
            return tuple(self._ids.get(processing, ()))
