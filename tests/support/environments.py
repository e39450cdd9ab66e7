"""Virtual environments for software of others, built at the first use and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOME = Path.home() / ".cache" / "redisqueue"


class Unavailable(Exception):
    """An environment cannot be built here; the text says what is missing."""


def python_with(name: str, *requirements: str) -> Path:
    """The Python 3.12 of the environment `name`, which has `requirements` installed.

    Needs a package index, once. Raises Unavailable.
    """
    found = _provision(name, requirements)
    if isinstance(found, Unavailable):
        raise found
    return found


@cache
def _provision(name: str, requirements: tuple[str, ...]) -> Path | Unavailable:
    """Once in a run: a missing package index is slow to find out about."""
    try:
        return _provisioned(name, requirements)
    except Unavailable as missing:
        return missing


def _provisioned(name: str, requirements: tuple[str, ...]) -> Path:
    home = _HOME / name
    python, ready = home / "bin" / "python", home / "ready"
    content = "\n".join(requirements)
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (ready.exists() and ready.read_text() == content and python.exists()):
            _build(home, python, requirements)
            ready.write_text(content)
    return python


def _build(home: Path, python: Path, requirements: tuple[str, ...]) -> None:
    wanted = " ".join(requirements)
    base = next(_python312(), None)
    if base is None:
        raise Unavailable(f"no Python 3.12 (python3.12 on PATH, or pyenv) for {wanted}")
    _run([base, "-m", "venv", "--clear", str(home)], f"{wanted}: could not create its environment")
    _run([str(python), "-m", "pip", "install", "--quiet", *requirements], f"pip could not install {wanted}")


def _python312() -> Iterator[str]:
    """Interpreters that really run: a shim on PATH may point to nothing."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [sys.executable, shutil.which("python3.12"), *pyenv.glob("3.12*/bin/python")]
    check = "import sys, venv, ensurepip; raise SystemExit(sys.version_info[:2] != (3, 12))"
    for candidate in candidates:
        if (
            candidate
            and subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode == 0
        ):
            yield str(candidate)


def _run(command: list[str], problem: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.SubprocessError as error:
        output = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Unavailable(f"{problem}: {output[-1] if output else error}") from None
