"""Wheel, source distribution, charts and krew's plugin, byte for byte the same each time from one commit."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.release import krew
from tests.release.versions import CHARTS, stated
from tests.support.helm import NAMES, Helm, binary

SOURCE = f"https://github.com/{os.environ.get('GITHUB_REPOSITORY', 'redisqueue/redisqueue')}"
"""Where a release is to be found."""


def build(root: Path, folder: Path) -> list[Path]:
    """All of them, into this folder, by name. Raises RuntimeError with what the tool said."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = commit_time(root)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(moment)}
    command = [sys.executable, "-m", "build", "--installer=uv", "--outdir", str(folder), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    helm = next((Helm(path) for name in NAMES if (path := binary(name))), None)
    if helm is not None:
        with tempfile.TemporaryDirectory() as packed:
            for chart in CHARTS:
                helm.run("package", root / "helm" / chart, "--destination", packed)
            for archive in Path(packed).iterdir():
                (folder / archive.name).write_bytes(without_times(archive.read_bytes(), moment))
    version = stated(root)["pyproject.toml: version"]
    krew.pack(root, next(folder.glob("*.whl")), folder, version, SOURCE, moment)
    return sorted(folder.iterdir())


def commit_time(root: Path) -> int:
    """When the commit was made, in seconds since the epoch; that of the changelog where there is no git."""
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else int((root / "CHANGELOG.md").stat().st_mtime)


def without_times(archive: bytes, moment: int) -> bytes:
    """The same tar.gz with each file of this moment: `helm package` writes when it ran."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as source,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=moment) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as target,
    ):
        for member in source.getmembers():
            member.mtime = moment
            target.addfile(member, source.extractfile(member))
    return packed.getvalue()


def digest(path: Path) -> str:
    """Its SHA-256, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
