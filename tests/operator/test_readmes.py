"""The commands of the READMEs that ask an API server, as they are written.

`kubectl redisqueue explain` and `kubectl port-forward` ask the operator's pod: tests/e2e/test_kubectl.py and
test_page.py. What needs nodes is in tests/e2e/test_readme.py.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.support.operator_process import Cluster
from tests.support.readmes import ROOT, blocks, needs_cluster, pages

from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

NAMESPACES = ("default", "shop")


def commands(page: Path) -> list[list[str]]:
    """Those of a page."""
    shells = [block for block in blocks(page) if not block.needs_pods]
    found = [words for block in shells for words in block.commands if needs_cluster(words)]
    return [
        words for words in found if words[:2] not in (["kubectl", "redisqueue"], ["kubectl", "port-forward"])
    ]


@pytest.fixture
def cluster(api_server: ApiServer, redis_url: str) -> Cluster:
    """With the RedisQueue and the redrive that the pages speak of; the redrive has ended."""
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    shown = [block.text for page in pages() for block in blocks(page) if block.language == "yaml"]
    for item in map(yaml.safe_load, shown):
        if item.get("kind") == "RedisQueue":
            item["spec"]["redis"] = {"url": redis_url}
        if item.get("kind", "").startswith("RedisQueue"):
            for namespace in NAMESPACES:
                item["metadata"]["namespace"] = namespace
                cluster.apply(item)
    done = {"type": "Complete", "status": "True", "reason": "Moved", "message": ""}
    done["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    # kubectl believes no condition that is older than the spec.
    generation = cluster.metadata("rqr", "invoices")["generation"]
    ended = json.dumps({"status": {"observedGeneration": generation, "conditions": [done]}})
    cluster.run("patch", "rqr", "invoices", "--subresource=status", "--type=merge", f"--patch={ended}")
    return cluster


@pytest.mark.parametrize("page", [page for page in pages() if commands(page)], ids=str)
def test_every_command_works_as_it_is_written(
    cluster: Cluster, page: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("crds", "helm"):
        (tmp_path / name).symlink_to(ROOT / name)
    for block in blocks(page):
        if block.file:
            (tmp_path / block.file).parent.mkdir(exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
    monkeypatch.setenv("KUBECONFIG", str(cluster.server.kubeconfig))
    monkeypatch.setenv("PATH", f"{cluster.server.folder}:{os.environ['PATH']}")
    main(["publish", "emails", "one", "--redis-url", redis_url])
    for words in commands(page):
        if words[0] == "kubectl":
            cluster.run(*words[1:])
        else:
            assert main(words[1:]) == 0, words


def test_the_cron_jobs_of_the_pages_are_valid(cluster: Cluster) -> None:
    texts = [block.text for page in pages() for block in blocks(page) if "kind: CronJob\n" in block.text]
    assert texts
    for text in texts:
        cluster.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
