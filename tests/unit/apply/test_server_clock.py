"""The API server's clock: right to the second, whatever this machine's own says."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from redisqueue_operator.kubernetes_api import ServerClock

TRUE = 1_800_000_000.0
HOUR = 3600.0


class Machine:
    """Two clocks; `wrong` is how far the wall clock is off."""

    def __init__(self, wrong: float) -> None:
        self.up = 500.0
        self.wrong = wrong

    def clock(self) -> float:
        return self.up

    def wall(self) -> float:
        return self.true + self.wrong

    @property
    def true(self) -> float:
        return TRUE + self.up


@pytest.mark.parametrize("wrong", [0.0, -7 * HOUR, 7 * HOUR])
def test_a_wrong_clock_of_this_machine_is_corrected_by_the_first_answer(wrong: float) -> None:
    machine = Machine(wrong)
    server = ServerClock(machine.clock, machine.wall)
    assert server.now() == machine.wall()
    machine.up += 10.4
    server.told(formatdate(machine.true, usegmt=True))
    assert abs(server.now() - machine.true) <= 1


def test_a_jump_of_this_machines_clock_changes_nothing() -> None:
    machine = Machine(0.0)
    server = ServerClock(machine.clock, machine.wall)
    machine.wrong = 5 * HOUR
    assert abs(server.now() - machine.true) <= 1


def test_it_gets_better_with_each_answer_and_never_runs_backwards() -> None:
    machine = Machine(0.0)
    server = ServerClock(machine.clock, machine.wall)
    seen = []
    for _ in range(40):
        machine.up += 0.13
        server.told(formatdate(machine.true, usegmt=True))
        seen.append(server.now())
    assert seen == sorted(seen)
    assert abs(server.now() - machine.true) < 0.2


def test_what_is_no_date_is_no_news() -> None:
    machine = Machine(0.0)
    server = ServerClock(machine.clock, machine.wall)
    for text in ("", "yesterday"):
        server.told(text)
    assert server.now() == machine.true
