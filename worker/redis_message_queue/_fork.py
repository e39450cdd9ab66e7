"""What the child of a fork must not inherit: locks, and work that goes on in the parent alone."""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod


class ForgottenAtFork(ABC):
    """State of one process: `forget()` makes it empty, at the beginning and in every child of a fork."""

    def __init__(self) -> None:
        self.forget()
        _living.add(self)

    @abstractmethod
    def forget(self) -> None:
        """Begin anew. Must not wait for a lock: the thread that held it does not exist here."""


_living: weakref.WeakSet[ForgottenAtFork] = weakref.WeakSet()


def _forget_all() -> None:
    for state in list(_living):
        state.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
