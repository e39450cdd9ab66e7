"""The first hour: "Install on a cluster" of the README, line by line as it is written."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
from tests.support.cluster import CommandFailed, run
from tests.support.readmes import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

CLUSTER_UP = "make cluster-up"


@pytest.fixture
def newcomer(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster as `make cluster-up` leaves it, and nothing left over from this story."""

    def clear() -> None:
        with contextlib.suppress(CommandFailed):  # its kind may not be there
            cluster.kubectl("delete", "-f", str(ROOT / "crds/samples/hello.yaml"), "--timeout=60s")
        for namespace, release in (("redisqueue-system", "redisqueue"), ("default", "redisqueue-crds")):
            cluster.helm("uninstall", release, "--namespace", namespace, "--ignore-not-found", "--wait")
        cluster.kubectl("delete", "namespace", "redisqueue-system", "--ignore-not-found", "--timeout=120s")

    clear()
    yield cluster
    clear()


def test_install_on_a_cluster_ends_with_a_handled_message(newcomer: Cluster) -> None:
    """`make cluster-up` is what the fixture `cluster` has run."""
    (block,) = [each for each in blocks(ROOT / "README.md") if each.needs_pods]
    commands = re.sub(r"^\$ ", "", block.text, flags=re.MULTILINE)
    assert commands.startswith(CLUSTER_UP)
    script = commands.partition("\n")[2]
    said = run("bash", "-euxc", f"cd {ROOT}\n{script}", environment=newcomer.environment)
    assert "hello, world" in said.splitlines(), said
    assert said.splitlines()[-1].split()[0] == "hello", "the last line is the one of kubectl get rq"
