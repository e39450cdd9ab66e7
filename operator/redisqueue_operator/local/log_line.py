"""A worker's log lines for a person: JSON objects become short text, everything else stays as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass

HIDDEN = frozenset({"time", "level", "logger", "message", "traceback"})
LOUD = frozenset({"warning", "error", "critical"})


@dataclass(frozen=True)
class LogLine:
    """One line: `loud` when somebody should look at it, `reason` the word for it, if it has one."""

    text: str
    loud: bool = False
    reason: str = ""

    @staticmethod
    def read(line: str) -> LogLine:
        """From what a worker printed."""
        try:
            record = json.loads(line)
        except ValueError:
            return LogLine(line)
        if not isinstance(record, dict) or "message" not in record:
            return LogLine(line)
        level = str(record.get("level", "info"))
        extra = [
            f"{name}={value}"
            for name, value in record.items()
            if name not in HIDDEN and value not in ("", None)
        ]
        words = [] if level == "info" else [f"{level}:"]
        text = " ".join([*words, str(record["message"]), *extra])
        lines = [text, *str(record.get("traceback", "")).splitlines()]
        return LogLine("\n".join(lines), level in LOUD, str(record.get("reason", "")))
