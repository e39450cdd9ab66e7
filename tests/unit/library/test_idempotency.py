"""Records that a later call removes: what is noted of many queues stays small."""

from __future__ import annotations

from redis_message_queue._local_state import AnsweredRecords


def test_the_next_call_of_a_queue_takes_what_was_noted_once() -> None:
    answered = AnsweredRecords()
    answered.add("a", "1", "2")
    answered.add("b", "3")
    answered.add("a", "4")
    assert answered.pop("a", ()) == ("1", "2", "4")
    assert answered.pop("a", ()) == ()
    assert answered.pop("b", ()) == ("3",)


def test_a_queue_for_each_user_is_forgotten_with_its_user() -> None:
    answered = AnsweredRecords()
    names = [f"user {number}" for number in range(10_000)]
    for name in names:
        answered.add(name, f"record of {name}")
    kept = [name for name in names if answered.pop(name, ())]
    assert 0 < len(kept) <= 1000
    assert kept == names[-len(kept) :]


def test_nothing_is_kept_of_a_queue_whose_records_were_taken() -> None:
    answered = AnsweredRecords()
    for number in range(10):
        answered.add(f"user {number}", "record")
        answered.pop(f"user {number}", ())
    assert answered == {}


def test_one_queue_keeps_few_records() -> None:
    answered = AnsweredRecords()
    answered.add("a", *map(str, range(1000)))
    assert len(answered.pop("a", ())) < 100
