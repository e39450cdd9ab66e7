"""The sync face is written from the asyncio face, and is what it would be written as now."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LIBRARY = Path("worker", "redis_message_queue")


def stale(root: Path) -> tuple[int, list[str]]:
    """The exit status of the check, and the modules that it names."""
    command = (sys.executable, root / "worker" / "sync_face.py", "--check")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, [line.removeprefix("stale: ") for line in done.stdout.splitlines()]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What is needed to write the sync face, in a folder of its own."""
    shutil.copytree(ROOT / LIBRARY, tmp_path / LIBRARY)
    for name in ("pyproject.toml", "worker/sync_face.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_sync_face_is_fresh() -> None:
    assert stale(ROOT) == (0, []), "run `make sync-face`"


def test_what_differs_from_its_source_is_named_and_written_again(copy: Path) -> None:
    source, both = copy / LIBRARY / "asyncio" / "consumer.py", copy / LIBRARY / "_transport.py"
    source.write_text(source.read_text().replace("Claims and settles messages", "Claims messages"))
    both.write_text(both.read_text().replace("    kept = kept_by(client)\n", "    kept = None\n", 1))
    assert stale(copy) == (1, [str(LIBRARY / "consumer.py"), str(LIBRARY / "_transport.py")])

    command = (sys.executable, copy / "worker" / "sync_face.py")
    subprocess.run(command, capture_output=True, check=True)
    assert stale(copy) == (0, [])
    assert "\n    kept = kept_by(client)\n" not in both.read_text()


@pytest.mark.parametrize("path", sorted((ROOT / LIBRARY).glob("*.py")), ids=lambda path: path.stem)
def test_the_sync_face_waits_for_no_event_loop(path: Path) -> None:
    text = path.read_text()
    if not text.startswith("# Written by"):
        text = text.partition("# -- The sync face, written by")[2].partition("\n")[2]
    loops = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, loops)]
    assert "import asyncio" not in text
