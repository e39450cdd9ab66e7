"""The heap of what is due when, against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redis_message_queue._schedule import Schedule

THINGS = st.integers(0, 9)
TIMES = st.integers(0, 20)
STEPS = st.one_of(
    st.tuples(st.just("set"), THINGS, TIMES),
    st.tuples(st.just("discard"), THINGS, TIMES),
    st.tuples(st.just("pop"), THINGS, TIMES),
)


@given(st.lists(STEPS, max_size=200))
def test_it_gives_what_a_dictionary_would_give(steps: list[tuple[str, int, int]]) -> None:
    schedule: Schedule[int] = Schedule()
    model: dict[int, int] = {}
    for step, thing, time in steps:
        if step == "set":
            schedule.set(thing, time)
            model[thing] = time
        elif step == "discard":
            schedule.discard(thing)
            model.pop(thing, None)
        else:
            due = [each for each, when in model.items() if when <= time]
            popped = schedule.pop(time)
            assert (popped is None) == (not due)
            if popped is not None:
                assert model[popped] == min(model[each] for each in due)
                del model[popped]
        assert schedule.next_at == min(model.values(), default=None)
        assert len(schedule) == len(model)
        assert schedule.when(thing) == model.get(thing)


def test_equal_times_keep_their_order() -> None:
    schedule: Schedule[str] = Schedule()
    for thing in ("c", "a", "b"):
        schedule.set(thing, 1)
    assert [schedule.pop(1), schedule.pop(1), schedule.pop(1)] == ["c", "a", "b"]


def test_what_came_and_went_takes_no_memory() -> None:
    schedule: Schedule[int] = Schedule()
    for number in range(10_000):
        schedule.set(number, 60 + number)
        schedule.discard(number)
    assert len(schedule._heap) < 100
