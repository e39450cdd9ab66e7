"""SECURITY.md checks what the release workflow signs: the same names, by the identity of that workflow."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
WORKFLOW = Path(".github/workflows/release.yml")


def test_the_identity_is_that_of_the_workflow_that_signs() -> None:
    identity = re.search(r"--certificate-identity https://github.com/OWNER/REPOSITORY/(\S+)", PAGE)
    assert identity is not None
    path, _, reference = identity[1].partition("@")
    assert path == str(WORKFLOW)
    text = (ROOT / path).read_text("utf-8")
    triggers = yaml.safe_load(text)[True]  # `on`, as YAML 1.1 reads it
    tag = reference.removeprefix("refs/tags/")
    assert any(tag.startswith(pattern.rstrip("*[0-9].")) for pattern in triggers["push"]["tags"])
    assert "cosign sign --yes" in text
    assert "id-token: write" in text, "keyless: the workflow's own identity is the certificate's"


def test_what_is_signed_is_named() -> None:
    workflow = yaml.safe_load((ROOT / WORKFLOW).read_text("utf-8"))
    parts = workflow["jobs"]["images"]["strategy"]["matrix"]["part"]
    assert {f"redisqueue-{part}" for part in parts} <= set(re.findall(r"redisqueue-\w+", PAGE))
    charts = {path.name for path in (ROOT / "helm").iterdir() if (path / "Chart.yaml").exists()}
    assert {f"charts/{name}" for name in charts} <= set(re.findall(r"charts/[\w-]+", PAGE))
    assert workflow["env"]["REGISTRY"].partition("/")[0] in PAGE
