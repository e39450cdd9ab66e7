"""The table of commands: what `redisqueue --help` says without importing any."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from importlib import import_module

import pytest

from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands import COMMANDS

HEAVY = ("redis", "redis_message_queue", "asyncio", "yaml", "rich", "subprocess", "importlib.metadata")


@pytest.mark.parametrize("words", [["--help"], ["nonsense"]])
def test_who_asks_for_help_waits_for_no_command(words: list[str]) -> None:
    code = f"""
import sys
from redisqueue_operator.cli import main
try:
    main({words})
except SystemExit:
    pass
modules = [f"redisqueue_operator.cli.commands.{{module}}" for module, _ in {list(COMMANDS.values())}]
print([name for name in (*{HEAVY}, *modules) if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    listed = re.findall(r"^    ([a-z-]+)\b", done.stdout, flags=re.MULTILINE)
    assert listed == ([*COMMANDS] if words == ["--help"] else [])


@pytest.mark.parametrize("module", sorted({module for module, _ in COMMANDS.values()}))
def test_a_module_declares_the_commands_that_the_table_says_of_it(module: str) -> None:
    declared = argparse.ArgumentParser().add_subparsers()
    import_module(f"redisqueue_operator.cli.commands.{module}").add_to(declared)
    assert list(declared.choices) == [name for name, (its, _) in COMMANDS.items() if its == module]


def test_a_folder_of_handlers_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["local", "queue.yaml", "--handler-path", "/nope"])
    assert ended.value.code == 2
    assert "argument --handler-path: '/nope' is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "²", "9" * 20, "9" * 5000], ids=lambda text: text[:20])
def test_a_count_that_no_server_has_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["peek", "jobs", f"--count={text}"])
    assert f"'{text}' is not a whole number above 0, and at most 1000000000" in capsys.readouterr().err
