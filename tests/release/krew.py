"""The plugin for krew: one archive for every platform, and the manifest that names it."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = ("async-timeout", "markdown-it-py", "mdurl", "pygments", "pyyaml", "redis", "rich", "tenacity")
"""What the commands need that ask a Redis or a cluster; all of it runs without a compiler's work."""
LAUNCHER = """\
#!/usr/bin/env python3
import os
import sys

if sys.version_info < (3, 11):
    sys.exit(f"kubectl redisqueue needs Python 3.11 or later as python3, which is {sys.version.split()[0]}")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "lib"))
from redisqueue_operator.cli import main

sys.exit(main())
"""
NAME = "kubectl-redisqueue"
_COMPILED = (".so", ".pyd", ".pyc")
# They say where and how the files were installed, which differs from one machine to the next.
_OF_THE_INSTALLER = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", ".lock")


def pack(root: Path, wheel: Path, folder: Path, version: str, source: str, moment: int) -> list[Path]:
    """The archive and the manifest, made of our wheel; `source` is the address of the repository.

    Raises RuntimeError with what uv said.
    """
    archive = folder / f"{NAME}-{version}.tar.gz"
    with tempfile.TemporaryDirectory() as place:
        lib, lock = Path(place, "lib"), Path(place, "lock")
        lock.write_text(locked((root / "operator" / "requirements.txt").read_text("utf-8")))
        _install(lib, "--require-hashes", "--only-binary=:all:", "-r", str(lock))
        _install(lib, str(wheel))
        files = {f"lib/{path.relative_to(lib)}": path.read_bytes() for path in kept(lib)}
    files |= {NAME: LAUNCHER.encode(), "LICENSE": (root / "LICENSE").read_bytes()}
    archive.write_bytes(packed(files, moment))
    manifest = folder / "redisqueue.yaml"
    template = (root / "operator" / "krew" / "redisqueue.yaml").read_text("utf-8")
    manifest.write_text(filled(template, version, source, archive.read_bytes()))
    return [archive, manifest]


def filled(template: str, version: str, source: str, archive: bytes) -> str:
    """The manifest of a version."""
    text = "".join(line for line in template.splitlines(keepends=True) if not line.startswith("#"))
    digest = hashlib.sha256(archive).hexdigest()
    return text.replace("VERSION", version).replace("SOURCE", source).replace("SHA256", digest)


def locked(requirements: str) -> str:
    """Of a lock what PACKAGES are, with their hashes. Raises LookupError for one that is not in it.

    Conditions go: what only an older Python needs is for the machine that runs it, not for this one.
    """
    blocks = re.findall(r"^[^\s#].*(?:\n[ \t]+.*)*", requirements, flags=re.MULTILINE)
    by_name = {block.split("==")[0].strip().lower(): block for block in blocks}
    return "".join(re.sub(r" ;[^\\\n]*", " ", by_name[name]) + "\n" for name in PACKAGES)


def kept(lib: Path) -> list[Path]:
    """What is the same on every machine."""
    return sorted(
        path
        for path in lib.rglob("*")
        if path.is_file()
        and path.suffix not in _COMPILED
        and path.name not in _OF_THE_INSTALLER
        and path.relative_to(lib).parts[0] != "bin"
    )


def packed(files: dict[str, bytes], moment: int) -> bytes:
    """A tar.gz of these, the same each time."""
    result = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=result, mode="wb", mtime=moment) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), moment, 0o755 if name == NAME else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return result.getvalue()


def _install(lib: Path, *words: str) -> None:
    command = [Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--no-deps", "--target", lib]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
