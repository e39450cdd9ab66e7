"""TAB in real shells: commands, options, files and the names of queues; and what kubectl asks of a plugin."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.test_cli import QUEUE
from tests.support.required import required
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands import COMMANDS

if TYPE_CHECKING:
    import redis

BIN = Path(sys.executable).parent
READY = "ready-to-type"
# Each without the files of the person whose machine this is.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(redisqueue completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source <(redisqueue completion zsh)"),
    "fish": (["fish", "--no-config", "-i"], "redisqueue completion fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_a_shell(
    shell: str, tmp_path: Path, redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is run was typed in part: only if each TAB has added what was left out does it say this."""
    required(shutil.which(shell), f"{shell} is not installed")
    (tmp_path / "my-queue.yaml").write_text(QUEUE)
    RedisMessageQueue("orders:{eu}", client=redis_client).publish("hello from afar")
    monkeypatch.chdir(tmp_path)
    command, setup = SHELLS[shell]
    surroundings = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "REDISQUEUE_REDIS_URL": redis_url,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
    }
    with Terminal(command, columns=120, **surroundings) as terminal:

        def run(line: str, said: str) -> None:
            terminal.press(f"{line}\r")
            eventually(lambda: said in terminal.read(), f"{line!r} says {said!r}")

        run(f"{setup}; echo {READY[:5]}''{READY[5:]}", READY)
        run("redisqueue lin\tmy-q\t", "1 RedisQueue: no problem found")
        run("redisqueue pee\t--cou\t1 --o\tpendi\tord\t", "hello from afar")
        terminal.press("exit\r")
        terminal.ends()


def completed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[str], str]:
    """The candidates, and what else may stand there."""
    assert main(["__complete", *words]) == 0
    *lines, directive = capsys.readouterr().out.splitlines()
    return [line.partition("\t")[0] for line in lines], directive


def test_candidates_are_what_the_parser_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "") == ([*COMMANDS], ":4")
    assert completed(capsys, "su") == (["support-bundle"], ":4")
    assert completed(capsys, "peek", "--of", "d") == (["delayed", "dead-letters"], ":4")
    assert completed(capsys, "peek", "--of=d") == (["--of=delayed", "--of=dead-letters"], ":4")
    assert "--of" not in completed(capsys, "peek", "--of", "failed", "--")[0], "it is given already"
    assert "--role" in completed(capsys, "acl", "--role", "worker", "--")[0], "it may be given again"
    assert completed(capsys, "dlq", "r") == (["redrive"], ":4")
    assert completed(capsys, "dlq", "list", "--fa") == (["--failed"], ":4")
    assert completed(capsys, "import", "") == (["scaledobject"], ":4")
    for words in (["lint", "a.yaml", ""], ["peek", "-f", ""], ["peek", "--file="], ["local", ""]):
        assert completed(capsys, *words) == ([], ":0"), "a file"
    for words in (["nonsense", ""], ["peek", "--nonsense", "--nonsense="], ["scale", "a", ""], []):
        assert completed(capsys, *words)[1] == ":4"


def test_a_server_that_is_away_or_full_completes_nothing(
    capsys: pytest.CaptureFixture[str],
    redis_url: str,
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("emails", "two\nlines", "a\ttab"):  # what is no word of a shell is not offered
        RedisMessageQueue(name, client=redis_client).publish("one")
    assert completed(capsys, "peek", "--redis-url", redis_url, "") == (["emails"], ":4")
    assert completed(capsys, "peek", "--redis-url", "redis://127.0.0.1:1", "") == ([], ":4")
    monkeypatch.setattr("redisqueue_operator.cli.completing.FEW_KEYS", 0)
    assert completed(capsys, "peek", "--redis-url", redis_url, "") == ([], ":4")
    assert capsys.readouterr().err == ""


def test_each_command_can_be_completed(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert "--help" in completed(capsys, name, "--")[0], name
