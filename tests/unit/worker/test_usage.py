"""What `redisqueue-worker` says to words that it cannot take."""

from __future__ import annotations

import pytest

from redisqueue_worker import cli


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no command given"),
        (("slot",), "unknown command 'slot'"),
        (("slot", "x"), "unknown command 'slot'"),
        (("drain", "--timeout", "²"), "cannot make sense of '--timeout ²'"),
        (("drain", "--timeout=-1"), "cannot make sense of '--timeout=-1'"),
        (("stacks", "--timeout"), "cannot make sense of '--timeout'"),
        (("resume", "--status"), "cannot make sense of '--status'"),
    ],
)
def test_a_wrong_word_is_named_beside_the_usage(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words]) == 2
    assert told in (said := capsys.readouterr().err)
    assert "usage: redisqueue-worker COMMAND" in said
