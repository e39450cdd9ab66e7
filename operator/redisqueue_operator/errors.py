"""What may be wrong with the place where workers run, or with the way to their Redis."""

from __future__ import annotations


class PlatformError(Exception):
    """The platform answered, and refused: worth a line in the log, and another try later.

    `passing` says that the same question gets another answer in a moment: it has too much to do, or stumbled.
    """

    passing = False


class Conflict(PlatformError):
    """The object changed since it was observed: observe again and decide again."""


class QueueUnusable(Exception):
    """Nothing may be done in the queue of a RedisQueue that another object names.

    `reason` is a CamelCase word for a condition; `acts`: so it stays until somebody acts.
    """

    def __init__(self, reason: str, message: str, *, acts: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.acts = acts


class SettingsUnavailable(Exception):
    """The connection settings cannot be built yet, for example because a Secret is missing.

    `reason` is a CamelCase word for a condition, the message is for a person and holds no credential.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
