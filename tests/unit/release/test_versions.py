"""The version in one place, the changelog's section of it, and the locks of the images."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.release.versions import LOCKS, notes, problems_of_lock, problems_of_versions, stated, write

ROOT = Path(__file__).parents[3]
PROJECT = """
[project]
dependencies = ["redis>=6.0,<9"]
[project.optional-dependencies]
worker = ["prometheus-client>=0.20"]
"""
REDIS = "redis==8.1.0 \\\n    --hash=sha256:00\n"
METRICS = "prometheus-client==0.26.0 \\\n    --hash=sha256:00\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for file in {place.split(":")[0] for place in stated(ROOT)}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_every_place_says_the_same_version() -> None:
    assert len(stated(ROOT)) == 5
    assert problems_of_versions(stated(ROOT)) == []


def test_one_command_writes_it_everywhere_and_nothing_else(project: Path) -> None:
    before = {file: (project / file).read_text("utf-8") for file in ("pyproject.toml",)}
    write(project, "12.34.56")
    assert set(stated(project).values()) == {"12.34.56"}
    write(project, stated(ROOT)["pyproject.toml: version"])
    assert (project / "pyproject.toml").read_text("utf-8") == before["pyproject.toml"]


@pytest.mark.parametrize("version", ["", "1", "1.2", "v1.2.3", "1.2.3rc1", "1.2.3-rc.1", "01.2.3", "one"])
def test_what_is_no_version_of_a_chart_and_a_wheel_is_refused(project: Path, version: str) -> None:
    with pytest.raises(ValueError, match=r"1\.2\.3"):
        write(project, version)
    assert stated(project) == stated(ROOT)


def test_versions_that_differ_are_named_with_the_way_out() -> None:
    assert problems_of_versions({"a: version": "1.0.0", "b: version": ""}) == ["b: version says no version"]
    (told,) = problems_of_versions({"a: version": "1.0.0", "b: version": "1.0.1"})
    assert "b: version 1.0.1" in told
    assert "make version" in told


def test_the_notes_are_the_section_of_the_version() -> None:
    changelog = "# Changelog\n\n## [0.2.0] - 2026-11-01\n\n### Added\n\n- More.\n\n## [0.1.0]\n\n- All.\n"
    assert notes(changelog, "0.2.0") == "### Added\n\n- More."
    assert notes(changelog, "0.1.0") == "- All."
    for version in ("0.3.0", "0.2"):
        with pytest.raises(LookupError, match=version):
            notes(changelog, version)
    with pytest.raises(LookupError, match="says nothing"):
        notes("## [0.2.0]\n\n## [0.1.0]\n\n- All.\n", "0.2.0")


@pytest.mark.parametrize("extra", LOCKS)
def test_the_images_install_what_the_project_asks_for(extra: str) -> None:
    lock = (ROOT / LOCKS[extra]).read_text("utf-8")
    assert problems_of_lock((ROOT / "pyproject.toml").read_text("utf-8"), extra, lock) == []


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (REDIS, "prometheus-client is not pinned"),
        (REDIS.replace("8.1.0", "9.1.0") + METRICS, "redis 9.1.0 is not"),
        (REDIS + METRICS.split(" \\", maxsplit=1)[0] + "\n", "prometheus-client has no hash"),
    ],
)
def test_a_lock_that_is_not_what_the_project_asks_for_is_named(lock: str, problem: str) -> None:
    assert problems_of_lock(PROJECT, "worker", REDIS + METRICS) == []
    (told,) = problems_of_lock(PROJECT, "worker", lock)
    assert problem in told
    assert "make locks" in told
