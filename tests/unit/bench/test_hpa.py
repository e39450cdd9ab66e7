"""What the bench beside the HorizontalPodAutoscaler makes of an audit log and of its measurements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.bench.calls import Calls, Failed
from tests.bench.hpa_report import fleets, reactions, spread

if TYPE_CHECKING:
    from pathlib import Path


def event(verb: str, resource: str, *, agent: str = "kube-controller-manager", **more: Any) -> str:
    """A line of an audit log."""
    subresource = more.pop("subresource", "")
    about = {"resource": resource, "name": "a", **({"subresource": subresource} if subresource else {})}
    told = {"verb": verb, "objectRef": about, "userAgent": agent, "stageTimestamp": "2026-01-01T00:00:05Z"}
    return json.dumps({**told, **more}) + "\n"


def scale(verb: str, **body: Any) -> str:
    return event(verb, "deployments", subresource="scale", **body)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


def test_zero_is_a_number_of_replicas_also_where_it_is_left_out(log: Path) -> None:
    calls = Calls(log)
    log.write_text(
        scale("get")
        + scale("update", requestObject={"spec": {}})
        + scale("patch", requestObject={"spec": {"replicas": 3}})
    )
    calls.read()
    assert [(each.writes, each.replicas) for each in calls.all] == [(False, None), (True, 0), (True, 3)]
    assert [each.replicas for each in calls.scales(0)] == [0, 3]
    assert calls.scales(calls.all[0].at + 1) == []
    calls.close()


def test_what_others_ask_and_the_lease_do_not_count(log: Path) -> None:
    calls = Calls(log)
    log.write_text(
        event("create", "pods", agent="kubectl/v1.37.0")
        + event("get", "endpoints", agent="kube-apiserver/v1.37.0")
        + event("update", "leases")
        + event("create", "events")
    )
    calls.read()
    assert [each.resource for each in calls.all] == ["events"]
    calls.close()


def test_half_a_line_is_read_when_it_is_whole_and_what_was_is_forgotten(log: Path) -> None:
    calls = Calls(log)
    first, second = event("create", "events"), event("update", "pods")
    log.write_text(first + second[:20])
    calls.read()
    assert [each.resource for each in calls.all] == ["events"]
    with log.open("a") as file:
        file.write(second[20:])
    calls.until(lambda seen: len(seen) == 2, "the other one")
    calls.forget()
    assert calls.all == []
    with pytest.raises(Failed, match="a third"):
        calls.until(bool, "a third", 0)
    calls.close()


def reaction(side: str, kind: str, *delays: float) -> dict[str, Any]:
    writes = [{"deployments/scale": 2, "events": 2}] * len(delays)
    return {"what": "reaction", "side": side, "kind": kind, "delays": [*delays], "writes": writes}


def test_rounds_of_a_side_are_one_line_and_ours_is_the_first() -> None:
    results = [
        reaction("HPA, every 1 s", "0 → 1", 0.5, 0.9),
        reaction("RedisQueue", "0 → 1", 0.01, 0.02),
        reaction("RedisQueue", "0 → 1", 0.03, 0.04),
        {"what": "burst", "side": "RedisQueue", "queues": 300, "p50": 0.5, "max": 1.25, "cpu_seconds": 0.4},
    ]
    assert reactions(results).splitlines()[2:] == [
        "| one sleeping queue, 0 → 1 (4 times) | RedisQueue | 0.025 | 0.040 | 4 | |",
        "|  | HPA, every 1 s | 0.700 | 0.900 | 4 | |",
        "| all of 300 at once, 0 → 20 (1 times) | RedisQueue | 0.500 | 1.250 | | 0.40 |",
    ]


def test_what_a_side_takes_has_a_line_for_each_state() -> None:
    def use(state: str, cpu: float) -> dict[str, Any]:
        memory = {"kube-controller-manager": 84.4, "external-metrics": 11.2}
        rates = {"reads_per_second": 600.0, "writes_per_second": 0.5, "redis_calls_per_second": 1300.4}
        cpus = {"cpu_percent": cpu, "api_server_cpu_percent": 2 * cpu, "redis_connections": 1}
        about = {"what": "fleet", "side": "HPA, every 1 s", "state": state, "queues": 300}
        return {**about, "memory_mib": memory, **rates, **cpus}

    table = fleets([use("idle", 10.0), use("active", 20.0), use("idle", 12.0)])
    assert table.splitlines()[2:] == [
        "| 300 idle | HPA, every 1 s | 84 + 11 | 11.0 | 22.0 | 0.5 | 600 | 1 | 1,300 |",
        "| 300 active | HPA, every 1 s | 84 + 11 | 20.0 | 40.0 | 0.5 | 600 | 1 | 1,300 |",
    ]


def test_many_times_in_short() -> None:
    assert spread([0.5]) == {"p50": 0.5, "p99": 0.5, "max": 0.5}
    assert spread([float(number) for number in range(101)]) == {"p50": 50.0, "p99": 99.0, "max": 100.0}
