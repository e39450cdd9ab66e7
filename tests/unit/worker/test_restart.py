"""When a process is worn out."""

from __future__ import annotations

import pytest

from redisqueue_worker.restart import RestartLimits, resident_mib
from redisqueue_worker.settings import read_settings

NEEDED = {"handler": "a:b", "queue": "jobs", "redis_url": "redis://localhost"}


@pytest.mark.parametrize(
    ("messages", "memory", "age", "reason"),
    [
        (9, 99, 59, ""),
        (10, 0, 0, "10 messages"),
        (0, 100.6, 0, "101 MiB"),
        (0, 0, 60, "60 s"),
    ],
)
def test_the_first_limit_that_is_reached(messages: int, memory: float, age: float, reason: str) -> None:
    assert RestartLimits(10, 100, 60).reached(messages, memory, age) == reason


def test_without_limits_none_is_reached() -> None:
    assert RestartLimits().reached(10**9, 10**6, 10**8) == ""


def test_workers_that_started_together_start_afresh_at_different_times() -> None:
    given = {"max_messages": "1000", "max_memory_mib": "512", "max_age_seconds": "3600"}
    settings = read_settings(NEEDED | given, {})
    assert RestartLimits.of(settings, chance=0) == RestartLimits(900, 512, pytest.approx(3240))
    assert RestartLimits.of(settings, chance=0.5) == RestartLimits(1000, 512, 3600)
    assert RestartLimits.of(settings, chance=1) == RestartLimits(1100, 512, pytest.approx(3960))
    assert RestartLimits.of(read_settings(NEEDED | {"max_messages": "1"}, {}), chance=0).max_messages == 1


def test_the_size_of_this_process_is_plausible() -> None:
    assert 5 < resident_mib() < 5000
