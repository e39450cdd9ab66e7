"""What the bench of limits makes of its looks and delays."""

from __future__ import annotations

from tests.bench.limits import most_in_a_second, share


def test_the_fullest_second_is_found_wherever_it_begins() -> None:
    assert most_in_a_second([]) == 0
    assert most_in_a_second([(0.0, 0), (0.5, 10), (1.0, 12), (1.4, 30), (1.6, 31), (9.0, 32)]) == 20
    assert most_in_a_second([(0.0, 0), (2.0, 7)]) == 0, "not known to be within a second"


def test_a_share_is_what_so_many_do_not_exceed() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (share(values, 0.5), share(values, 0.99), share(values, 1.0)) == (51.0, 100.0, 100.0)
