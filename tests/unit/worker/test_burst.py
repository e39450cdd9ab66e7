"""How long a burst waits for what is not there yet."""

from __future__ import annotations

from redisqueue_worker.claim_timing import Burst


def test_it_waits_for_what_is_due_within_its_patience() -> None:
    burst = Burst(10, 0)
    assert not burst.waits_for(None)
    assert (burst.waits_for(0), burst.waits_for(10), burst.waits_for(10.1)) == (True, True, False)


def test_its_patience_is_over_after_so_much_waiting_in_all() -> None:
    burst = Burst(10, 0)
    for now in range(1, 10):
        burst.look(now, ended=0, oldest_age_seconds=None)
        assert not burst.is_over
    burst.look(10, ended=0, oldest_age_seconds=None)
    assert burst.is_over


def test_a_message_that_comes_to_an_end_gives_it_new_patience() -> None:
    burst = Burst(10, 0)
    burst.look(9, ended=0, oldest_age_seconds=None)
    burst.look(10, ended=1, oldest_age_seconds=None)
    burst.look(19, ended=1, oldest_age_seconds=None)
    assert not burst.is_over


def test_a_handler_at_work_is_no_waiting_but_retries_one_after_the_other_are() -> None:
    burst = Burst(10, 0)
    for now in range(1, 3601):
        burst.look(now, ended=0, oldest_age_seconds=now)
    assert not burst.is_over
    for now in range(3601, 3611):
        burst.look(now, ended=0, oldest_age_seconds=0.01)
    assert burst.is_over
