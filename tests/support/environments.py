"""Environments for software of others, built at the first use and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HOME = Path.home() / ".cache" / "redisqueue"
UV = Path(sys.executable).parent / "uv"


class Unavailable(Exception):
    """An environment cannot be built here; the text says what is missing."""


def python_with(name: str, *requirements: str) -> Path:
    """The Python 3.12 of the environment `name`, which has `requirements` installed.

    Needs a package index, once. Raises Unavailable.
    """
    return _kept(name, "bin/python", "\n".join(requirements), _venv(requirements))


def go_program(name: str, source: Path, package: str = ".") -> Path:
    """The program that Go builds of the folder `source`, whose go.sum holds the sums of all modules.

    `package` is one of a module that its go.mod names, where the program is not in the folder itself.
    Needs Go and its module proxy, once. Raises Unavailable.
    """
    if not (go := shutil.which("go")):
        raise Unavailable("no go on PATH")

    def build(home: Path) -> None:
        command = [go, "build", "-mod=readonly", "-trimpath", "-o", str(home / name), package]
        # The Go that is here, or none: it would fetch another one.
        environment = {**os.environ, "GOTOOLCHAIN": "local"}
        _run(command, f"go could not build {name}", cwd=source, env=environment)

    return _kept(name, name, _content_of(source), build)


def node_program(name: str, source: Path) -> tuple[Path, Path]:
    """node, and the main.js of a copy of `source` beside the modules that its package-lock.json names.

    The lock file holds their sums. No package's own scripts run. Needs npm and its registry, once.
    Raises Unavailable.
    """
    found = shutil.which("node"), shutil.which("npm")
    for program, path in zip(("node", "npm"), found, strict=True):
        if path is None:
            raise Unavailable(f"no {program} on PATH")
    node, npm = map(str, found)

    def build(home: Path) -> None:
        shutil.copytree(source, home, dirs_exist_ok=True)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        _run(command, f"npm could not install the modules of {name}", cwd=home)

    return Path(node), _kept(name, "main.js", _content_of(source), build)


def _content_of(source: Path) -> str:
    """Changes whenever a file of the folder does."""
    files = sorted(path for path in source.iterdir() if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


_refused: dict[tuple[str, str], Unavailable] = {}
"""Once in a run: a missing package index is slow to find out about."""


def _kept(name: str, product: str, content: str, build: Callable[[Path], None]) -> Path:
    """`product` in the folder `name` of the cache, built anew when what it is to contain has changed."""
    if missing := _refused.get((name, content)):
        raise missing
    home, ready, made = _HOME / name, _HOME / name / "ready", _HOME / name / product
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (ready.exists() and ready.read_text() == content and made.exists()):
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            try:
                build(home)
            except Unavailable as missing:
                _refused[name, content] = missing
                raise
            ready.write_text(content)
    return made


def install_into(home: Path, *requirements: str) -> None:
    """Make an environment of this Python with `requirements`, in seconds: uv copies no file that it has.

    Raises Unavailable.
    """
    wanted = " ".join(requirements)
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)], f"{wanted}: no environment")
    uv = [str(UV), "pip", "install", "--quiet", "--python", str(home / "bin" / "python")]
    _run([*uv, *requirements], f"uv could not install {wanted}")


def _venv(requirements: tuple[str, ...]) -> Callable[[Path], None]:
    wanted = " ".join(requirements)

    def build(home: Path) -> None:
        base = next(_python312(), None)
        if base is None:
            raise Unavailable(f"no Python 3.12 (python3.12 on PATH, or pyenv) for {wanted}")
        _run([base, "-m", "venv", "--clear", str(home)], f"{wanted}: could not create its environment")
        python = str(home / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", *requirements], f"pip could not install {wanted}")

    return build


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


def _run(command: list[str], problem: str, **options: Any) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, **options)
    except subprocess.SubprocessError as error:
        output = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise Unavailable(f"{problem}: {output[-1] if output else error}") from None
