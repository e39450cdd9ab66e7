"""Loads played to the end: what operator/README.md says of this project holds for other seeds too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.simulate import __main__ as command
from tests.simulate import trace
from tests.simulate.loads import burst, outage, slow, sparse
from tests.simulate.play import percentile, play, turns
from tests.simulate.report import table
from tests.simulate.scalers import SCALERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulate.loads import Load
    from tests.simulate.scalers import Scaler

OURS, DEFAULT, TUNED, BEST, HPA, HPA_BEST = SCALERS
QUICK = (burst, slow, sparse)
README = Path(__file__).parents[3] / "operator" / "README.md"


@pytest.mark.parametrize("scaler", [OURS, BEST, HPA_BEST])
def test_the_same_seed_gives_the_same_outcome(scaler: Scaler) -> None:
    assert play(slow(5), scaler, 5) == play(slow(5), scaler, 5)
    assert play(slow(5), scaler, 5) != play(slow(6), scaler, 6)


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("make", QUICK)
def test_nothing_is_interrupted_and_nothing_is_left(make: Callable[[int], Load], seed: int) -> None:
    outcome = play(make(seed), OURS, seed)
    assert (outcome.interrupted, outcome.unfinished, outcome.dead_letters) == (0, 0, 0)
    assert outcome.most_replicas <= 20


@pytest.mark.parametrize("seed", [2, 3])
def test_a_burst_waits_for_less_than_with_the_best_keda_and_costs_the_same(seed: int) -> None:
    ours, best = (play(burst(seed), scaler, seed) for scaler in (OURS, BEST))
    assert ours.wait_p50 < 0.7 * best.wait_p50
    assert ours.wait_p99 < 0.8 * best.wait_p99
    assert ours.pod_seconds < 1.1 * best.pod_seconds


def test_slow_handlers_are_interrupted_where_nobody_knows_who_is_busy() -> None:
    for scaler in (DEFAULT, TUNED, HPA):
        assert play(slow(2), scaler, 2).interrupted > 0


def test_an_outage_leaves_nothing_behind() -> None:
    load = outage(2)
    short = dataclasses.replace(load, messages=load.messages[:3500], outages=((300.0, 390.0),))
    outcome = play(short, OURS, 2)
    assert (outcome.interrupted, outcome.unfinished) == (0, 0)
    assert outcome.messages == 3500


@pytest.mark.parametrize("name", ["sparse", "recorded"])
def test_the_table_of_the_readme_is_what_is_played(name: str) -> None:
    """Of the shortest loads: who changes what they show plays all of them anew (`make simulate`)."""
    load = sparse(1) if name == "sparse" else trace.read(command.TRACES / f"{name}.csv")
    rows = table([play(load, scaler, 1) for scaler in SCALERS]).splitlines()[2:]
    assert "\n".join(rows) in README.read_text()


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 5), (90, 9), (91, 10), (99, 10), (100, 10)])
def test_percentiles(percent: float, value: int) -> None:
    assert percentile(list(range(1, 11)), percent) == value


@pytest.mark.parametrize(
    ("numbers", "flaps"),
    [([0], 0), ([0, 5], 0), ([0, 5, 9, 3, 0], 1), ([0, 1, 0, 1, 0], 3), ([0, 1, 1, 2], 0)],
)
def test_turns(numbers: list[int], flaps: int) -> None:
    assert turns(numbers) == flaps


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "numbers.json"
    monkeypatch.setattr("sys.argv", ["simulate", "--load", "sparse", "--seed", "3", "--json", str(file)])
    assert command.main() == 0
    numbers = json.loads(file.read_text())
    assert [each["scaler"] for each in numbers] == [scaler.name for scaler in SCALERS]
    printed = capsys.readouterr().out
    assert "| sparse | RedisQueue |" in printed
    assert "- KEDA tuned: pollingInterval 1" in printed


def test_the_scaling_of_an_own_resource(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = tmp_path / "rq.yaml"
    resource.write_text(
        "kind: ConfigMap\n---\napiVersion: redisqueue.dev/v1alpha1\nkind: RedisQueue\n"
        "metadata: {name: jobs}\n"
        "spec: {redis: {url: 'redis://r'}, worker: {handler: 'a:b'}, scaling: {maxReplicas: 3}}\n"
    )
    trace = tmp_path / "mine.csv"
    trace.write_text("seconds,arrivals,handling_seconds\n5,100,1\n")
    monkeypatch.setattr("sys.argv", ["simulate", "--trace", str(trace), "--resource", str(resource)])
    assert command.main() == 0
    ours = next(line for line in capsys.readouterr().out.splitlines() if "RedisQueue" in line)
    assert ours.startswith("| mine |")
    assert ours.endswith("| 3 |")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--load", "storm"], "there is no storm"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--resource", __file__.replace("test_play.py", "empty.yaml")], "empty.yaml"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["simulate", *arguments])
    assert command.main() == 2
    assert text in capsys.readouterr().err
