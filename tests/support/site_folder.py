"""Folders of packages beside the environment's own: what stands in one goes before it on PYTHONPATH."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

_HOME = Path.home() / ".cache" / "redisqueue" / "packages"


class PipFailed(Exception):
    """pip could not install; the text is its last line."""


def site_folder(*requirements: str, options: tuple[str, ...] = ()) -> Path:
    """The folder with these packages for this Python; filled at the first use, which needs a package index.

    Raises PipFailed.
    """
    name = re.sub(r"[^A-Za-z0-9.=]+", "-", " ".join((f"py{sys.version_info.minor}", *requirements)))
    folder, ready = _HOME / name, _HOME / f"{name}.ready"
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _install(folder, requirements, options)
            ready.touch()
    return folder


def _install(folder: Path, requirements: tuple[str, ...], options: tuple[str, ...]) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--upgrade"]
    done = subprocess.run(
        [*pip, *options, f"--target={folder}", *requirements], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PipFailed(f"{' '.join(requirements)}: {(done.stderr.splitlines() or ['pip failed'])[-1]}")
