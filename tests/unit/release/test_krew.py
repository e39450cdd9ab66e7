"""The manifest of the plugin for krew, and what goes into its archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import yaml
from tests.release.krew import NAME, PACKAGES, filled, locked, packed

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "operator" / "krew" / "redisqueue.yaml"


def test_the_manifest_names_the_archive_of_its_version() -> None:
    text = filled(TEMPLATE.read_text(), "1.2.3", "https://example.com/us", b"an archive")
    manifest = yaml.safe_load(text)
    assert manifest["metadata"]["name"] == "redisqueue", "so it is kubectl redisqueue"
    spec = manifest["spec"]
    assert spec["version"] == "v1.2.3"
    (platform,) = spec["platforms"]
    assert platform["uri"] == f"https://example.com/us/releases/download/v1.2.3/{NAME}-1.2.3.tar.gz"
    assert platform["sha256"] == hashlib.sha256(b"an archive").hexdigest()
    assert platform["bin"] == NAME
    assert len(spec["shortDescription"]) <= 50, "krew's index takes no longer one"
    assert not {"VERSION", "SOURCE", "SHA256"} & set(text.replace("/", " ").replace("-", " ").split())


def test_what_goes_in_is_pinned_by_hash_as_for_the_image() -> None:
    lock = locked((ROOT / "operator" / "requirements.txt").read_text())
    names = [line.split("==")[0] for line in lock.splitlines() if "==" in line]
    assert names == [*PACKAGES]
    assert ";" not in lock, "what an older Python needs is in it, whoever builds it"
    assert lock.count("--hash=sha256:") >= len(PACKAGES)
    with pytest.raises(LookupError):
        locked("redis==8.1.0 \\\n    --hash=sha256:00\n")


def test_an_archive_is_the_same_each_time_and_its_command_can_be_run() -> None:
    files = {"lib/a.py": b"a", NAME: b"#!/usr/bin/env python3\n"}
    archive = packed(files, 1_700_000_000)
    assert archive == packed(dict(reversed(files.items())), 1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        modes = {member.name: member.mode for member in found}
    assert modes == {"lib/a.py": 0o644, NAME: 0o755}
