"""What workers print, as `redisqueue local` shows it."""

from __future__ import annotations

import pytest

from redisqueue_operator.cli.screen import LogLine


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text of a handler", LogLine("plain text of a handler")),
        ("12", LogLine("12")),
        ('{"a": 1}', LogLine('{"a": 1}')),
        (
            '{"time": "t", "level": "info", "logger": "l", "message": "started", "queue": "q", "x": ""}',
            LogLine("started queue=q"),
        ),
        (
            '{"level": "error", "message": "failed", "traceback": "one\\ntwo"}',
            LogLine("error: failed\none\ntwo", loud=True),
        ),
    ],
)
def test_a_line_is_short_and_says_whether_it_matters(line: str, shown: LogLine) -> None:
    assert LogLine.read(line) == shown
