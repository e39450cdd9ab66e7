"""Who takes part, and what is said of those that cannot."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tests.bench.contestants import PROGRAMS, Foreign, missing
from tests.bench.entries import FOREIGN, SCENARIOS
from tests.support import environments

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither go nor node, and nothing built before."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "_HOME", tmp_path / "cache")


@pytest.mark.usefixtures("no_programs")
def test_without_go_or_node_the_reason_is_told_plainly() -> None:
    reasons = missing(entry.contestant for entry in FOREIGN)
    assert list(reasons.values()) == ["no go on PATH", "no node on PATH"]


def test_a_program_is_told_scenario_server_amount_and_options() -> None:
    foreign = Foreign("x", lambda: ("node", "main.js"), ())
    options = SCENARIOS["slow"].options(FOREIGN[0])
    *command, told = foreign.command("work.py", "work", "redis://h", 1.5, **options)
    assert command == ["node", "main.js", "work", "redis://h", "1.5"]
    assert json.loads(told) == {"slots": 16, "payload_bytes": 100, "handler_ms": 10}
    assert foreign.command("run.py", "publish", "redis://h", 0.5) == [
        "node", "main.js", "publish", "redis://h", "0.5",
    ]  # fmt: skip


def test_what_is_built_is_kept_until_its_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "_HOME", tmp_path)
    built = []

    def build(home: Path) -> None:
        built.append(home.name)
        (home / "program").write_text("")

    for content in ("one", "one", "two"):
        assert environments._kept("thing", "program", content, build) == tmp_path / "thing" / "program"
    (tmp_path / "thing" / "program").unlink()
    environments._kept("thing", "program", "two", build)
    assert len(built) == 3


def test_what_cannot_be_built_is_tried_once_in_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_HOME", tmp_path)
    tried = []

    def build(home: Path) -> None:
        tried.append(home)
        raise environments.Unavailable("no index")

    for _ in range(2):
        with pytest.raises(environments.Unavailable, match="no index"):
            environments._kept("absent", "program", "it", build)
    assert len(tried) == 1


def test_every_module_of_others_is_of_one_version_and_sum() -> None:
    """Go's file has a line for each module and one for its go.mod; npm's an integrity for each package."""
    wanted = re.findall(
        r"^\s*(?:require )?(\S+) (v\S+)", (PROGRAMS / "asynq/go.mod").read_text(), re.MULTILINE
    )
    assert ("github.com/hibiken/asynq", "v0.26.0") in wanted
    sums = (PROGRAMS / "asynq" / "go.sum").read_text()
    assert not [module for module, version in wanted if f"{module} {version} h1:" not in sums]
    named = json.loads((PROGRAMS / "bullmq" / "package.json").read_text())["dependencies"]
    assert named == {"bullmq": "6.7.0", "ioredis": "6.0.0"}
    locked = json.loads((PROGRAMS / "bullmq" / "package-lock.json").read_text())["packages"]
    assert {locked[f"node_modules/{name}"]["version"] for name in named} == set(named.values())
    assert all(name == "" or package["integrity"] for name, package in locked.items())
