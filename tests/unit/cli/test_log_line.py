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
        (
            r'{"message": "\u001b]0;name\u0007 \u202e \u009b \ud800", "traceback": "a\tb\n\u001b[2Jc"}',
            LogLine("\\x1b]0;name\\x07 \\u202e \\x9b \\ud800\na\tb\n\\x1b[2Jc"),
        ),
        ("[" * 100_000, LogLine("[" * 100_000)),
    ],
)
def test_a_line_is_short_and_says_whether_it_matters(line: str, shown: LogLine) -> None:
    assert LogLine.read(line) == shown
