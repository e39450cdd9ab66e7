"""helm 3 and 4, where they are found."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.support.api_server import PLACES
from tests.support.waiting import PATIENCE_SECONDS

MISSING = "{} not found: put it on the PATH or into the folder REDISQUEUE_CLUSTER_BIN"
NAMES = ("helm", "helm-4")
"""The commands of Helm 3 and of Helm 4, as `tests/cluster/cluster build` calls them."""
CHARTS = Path(__file__).parents[2] / "helm"


def binary(name: str) -> Path | None:
    """That command of REDISQUEUE_CLUSTER_BIN, of the PATH, or beside the cluster's binaries, or None."""
    places = [os.environ.get("REDISQUEUE_CLUSTER_BIN", ""), *PLACES]
    candidates = [Path(place).expanduser() / name for place in places if place]
    if found := shutil.which(name):
        candidates.insert(1, Path(found))
    return next((path for path in candidates if path.is_file()), None)


def one(items: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    """The only manifest of that kind (and name)."""
    (found,) = [item for item in items if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    return found


class HelmError(Exception):
    """helm refused; the text is its output."""


class Helm:
    """helm, as a command."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, *arguments: str | Path) -> str:
        """Its standard output. Raises HelmError."""
        done = subprocess.run(
            [self._path, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
        )
        if done.returncode != 0:
            raise HelmError(done.stdout + done.stderr)
        return done.stdout

    def template(self, chart: str, *values: str, namespace: str = "system") -> list[dict[str, Any]]:
        """The manifests of a chart; `values` are like `valkey.enabled=true`, in JSON. Raises HelmError."""
        return [
            item for item in yaml.load_all(self._text(chart, values, namespace), yaml.CSafeLoader) if item
        ]

    @cache  # noqa: B019 - there is one for each helm, as long as tests run
    def _text(self, chart: str, values: tuple[str, ...], namespace: str) -> str:
        settings = [part for value in values for part in ("--set-json", value)]
        target = ("--namespace", namespace, "--kube-version", "1.34.0")
        return self.run("template", "redisqueue", CHARTS / chart, *target, *settings)
