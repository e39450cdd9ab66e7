"""tests/cluster/cluster says what it will cost before it begins, and how far it is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support.readmes import ROOT
from tests.support.waiting import PATIENCE_SECONDS

FOLDER = ROOT / "tests" / "cluster"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")


def cluster(
    command: str, cache: Path, provider: str = "native", kubernetes: str = "1.34", code: int = 0
) -> str:
    """What a command says to people."""
    done = subprocess.run(
        [FOLDER / "cluster", command],
        env={**os.environ, "CLUSTER": provider, "KUBERNETES": kubernetes, "REDISQUEUE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == code, done.stderr
    return done.stderr


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache with nothing in it, on a machine without the tools."""
    for name in ("bash", "dirname", "mkdir", "touch", "sed", "tail", "wc", "env"):
        (tmp_path / name).symlink_to(
            next(p for p in map(Path, ("/bin", "/usr/bin")) if (p / name).exists()) / name
        )
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "cache"


def test_times_and_packages_are_told_before_they_are_spent(bare: Path) -> None:
    told = cluster("plan", bare)
    assert re.search(r"lacks 9 parts, about \d+ min", told)
    assert len(re.findall(r"^  .*: \d+ (?:s|min)", told, re.MULTILINE)) == 9
    assert "GB" in told
    packages = next(line for line in told.splitlines() if "apt-get" in line)
    for package in ("containerd", "runc", "buildah", "debootstrap", "iptables", "gcc"):
        assert package in packages.split()
    kubernetes = next(line for line in told.splitlines() if "Kubernetes" in line)
    assert all(program in kubernetes for program in ("6 programs", *PROGRAMS))
    assert not any((bare / "cluster" / "bin").iterdir()), "it was only asked"


def test_what_is_there_is_not_told_and_what_was_measured_counts(bare: Path) -> None:
    cluster("plan", bare)
    for name in ("kubelet", "helm", "helm-4", "etcd", "actionlint"):
        (bare / "cluster" / "bin" / name).touch(0o755)
    (bare / "cluster" / "times").write_text("build coredns=3000\n")
    told = cluster("plan", bare)
    assert "lacks 4 parts, about 51 min" in told
    assert "build coredns: 50 min" in told
    assert "kubelet" not in told


def test_another_release_has_tools_of_its_own_beside_those_of_all(bare: Path) -> None:
    cluster("plan", bare)
    for name in ("kubelet", "helm", "helm-4", "etcd", "coredns", "actionlint"):
        (bare / "cluster" / "bin" / name).touch(0o755)
    told = cluster("plan", bare, kubernetes="1.37")
    assert "build Kubernetes 1.37: " in told
    assert "build containerd: " in told
    assert "helm" not in told.partition("with apt-get")[2].partition("\n")[2]
    assert "Kubernetes" not in cluster("plan", bare), "the default one is there"
    refused = cluster("plan", bare, kubernetes="1.3", code=1)
    assert refused == "cluster: KUBERNETES=1.3 is none of 1.34, 1.37\n"


def test_a_step_says_which_of_how_many_it_is_and_what_it_is_at(tmp_path: Path) -> None:
    program = """
        cache=$1; mkdir "$cache/log"; touch "$cache/times"; source "$2"
        work() { echo into the log; progress "program 1 of 6: kubelet"; }
        steps_of 2; next "first" work; next "second" false
    """
    done = subprocess.run(
        ["bash", "-euc", program, "-", tmp_path, FOLDER / "lib" / "progress.sh"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[:3] == ["> [1/2] first", "  program 1 of 6: kubelet", "> [2/2] second"]
    assert "second failed (exit code 1)" in done.stderr
    assert (tmp_path / "log" / "first.log").read_text() == "into the log\n"


def test_the_images_have_the_names_by_which_the_charts_are_told_of_them() -> None:
    of_images, of_tests = (
        yaml.safe_load((FOLDER / f"{each}.yaml").read_text()) for each in ("images", "values")
    )
    assert of_images == {name: of_tests[name] for name in of_images}
    built = (FOLDER / "lib" / "images.sh").read_text()
    assert f"image_tag={of_images['image']['tag']}\n" in built
    assert of_images["valkey"]["image"] == f"localhost/redisqueue-valkey:{of_images['image']['tag']}"


def test_cluster_up_does_what_it_says() -> None:
    """Up, then the images, as its help says."""
    done = subprocess.run(
        ["make", "-n", "-C", ROOT, "cluster-up"], capture_output=True, text=True, check=True
    )
    assert re.search(r"cluster up .*&& \S*cluster images && \S*cluster use", done.stdout)
