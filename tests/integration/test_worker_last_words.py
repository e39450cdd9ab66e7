"""What a worker refuses to start with stands in its termination log, where Kubernetes reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.waiting import eventually

from redisqueue_worker.identity import read_words

if TYPE_CHECKING:
    from pathlib import Path

RUN = (
    "import sys\nfrom redisqueue_worker import identity\nidentity.TERMINATION_LOG = sys.argv[1]\n"
    "from redisqueue_worker.cli import main\nsys.exit(main(sys.argv[2:]))"
)


def refused(log: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REDISQUEUE_")}
    command = [sys.executable, "-c", RUN, str(log), *options]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=log.parent
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("run",), "REDISQUEUE_QUEUE"),
        (
            ("run", "--queue=jobs", "--redis-url=redis://127.0.0.1:1", "--handler=nowhere:handle"),
            "REDISQUEUE_HANDLER (--handler): ",
        ),
    ],
)
def test_a_refusal_stands_in_the_termination_log(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    log = tmp_path / "termination-log"
    log.write_text("of the container before")
    ended = refused(log, *options)
    assert ended.returncode == 2, ended.stderr
    assert words in log.read_text()
    assert "before" not in log.read_text()
    assert log.read_text().splitlines()[0].partition("; ")[0] in ended.stderr


def test_who_runs_stands_in_the_termination_log(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("of the container before")
    (tmp_path / "tasks.py").write_text("def handle(text): ...\n")
    options = ("run", "tasks:handle", "--queue=jobs", "--redis-url=redis://127.0.0.1:1", "--http-port=0")
    command = [sys.executable, "-c", RUN, str(log), *options]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as worker:
        try:
            message = eventually(lambda: "before" not in log.read_text() and log.read_text(), "its own words")
        finally:
            worker.kill()
    instance, words = read_words(str(message))
    assert len(instance) == 32
    assert words == ""
    assert read_words(f"mine\n{message}and more") == (instance, "mine\nand more")
    assert read_words("Killed") == ("", "Killed")


def test_where_there_is_none_nothing_is_made(tmp_path: Path) -> None:
    ended = refused(tmp_path / "absent", "run")
    assert ended.returncode == 2
    assert not (tmp_path / "absent").exists()
