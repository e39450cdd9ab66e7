"""Records that a later call removes: what is noted of many queues stays small."""

from __future__ import annotations

from redis_message_queue._spent import SpentRecords


def test_the_next_call_of_a_queue_takes_what_was_noted_once() -> None:
    spent = SpentRecords()
    spent.add("a", "1", "2")
    spent.add("b", "3")
    spent.add("a", "4")
    assert spent.take("a") == ("1", "2", "4")
    assert spent.take("a") == ()
    assert spent.take("b") == ("3",)


def test_a_queue_for_each_user_is_forgotten_with_its_user() -> None:
    spent = SpentRecords()
    names = [f"user {number}" for number in range(10_000)]
    for name in names:
        spent.add(name, f"record of {name}")
    kept = [name for name in names if spent.take(name)]
    assert 0 < len(kept) <= 1000
    assert kept == names[-len(kept) :]


def test_nothing_is_kept_of_a_queue_whose_records_were_taken() -> None:
    spent = SpentRecords()
    for number in range(10):
        spent.add(f"user {number}", "record")
        spent.take(f"user {number}")
    assert spent._names == {}


def test_one_queue_keeps_few_records() -> None:
    spent = SpentRecords()
    spent.add("a", *map(str, range(1000)))
    assert len(spent.take("a")) < 100
