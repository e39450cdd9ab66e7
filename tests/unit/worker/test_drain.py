"""The drain state machine, as stories of (what happened, when, how many in flight) → (phase, effects)."""

from __future__ import annotations

import pytest

from redisqueue_worker.shutdown import SETTLE_SECONDS, Cause, Drain, Effect, Event, Load, Phase, step

Story = list[tuple[Event, float, int, Phase, tuple[Effect, ...]]]

STOP, START = Effect.STOP_CLAIMING, Effect.START_CLAIMING

STORIES: dict[str, Story] = {
    "SIGTERM waits for what is in flight": [
        (Event.TICK, 0, 2, Phase.RUNNING, ()),
        (Event.SIGTERM, 1, 2, Phase.DRAINING, (STOP,)),
        (Event.TICK, 5, 1, Phase.DRAINING, ()),
        (Event.TICK, 6, 0, Phase.STOPPED, (Effect.EXIT,)),
    ],
    "SIGTERM with nothing in flight": [
        (Event.SIGTERM, 1, 0, Phase.STOPPED, (STOP, Effect.EXIT)),
    ],
    "the deadline forces": [
        (Event.SIGINT, 1, 2, Phase.DRAINING, (STOP,)),
        (Event.TICK, 10.9, 2, Phase.DRAINING, ()),
        (Event.TICK, 11, 2, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "a second signal forces, of either kind": [
        (Event.SIGTERM, 1, 2, Phase.DRAINING, (STOP,)),
        (Event.SIGINT, 2, 2, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "a drain by command stays until SIGTERM": [
        (Event.DRAIN, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 2, 0, Phase.DRAINED, ()),
        (Event.TICK, 99, 0, Phase.DRAINED, ()),
        (Event.SIGTERM, 100, 0, Phase.STOPPED, (Effect.EXIT,)),
    ],
    "the clock starts at the command, not at the signal that follows": [
        (Event.DRAIN, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.SIGTERM, 9, 1, Phase.DRAINING, ()),
        (Event.TICK, 11, 1, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "a drain by command that nobody follows up forces too": [
        (Event.DRAIN, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 11, 1, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "a command after the signal changes nothing": [
        (Event.SIGTERM, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.DRAIN, 5, 1, Phase.DRAINING, ()),
        (Event.RESUME, 6, 1, Phase.DRAINING, ()),
        (Event.TICK, 11, 1, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "resume takes a command back, and the next drain has a clock of its own": [
        (Event.DRAIN, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.RESUME, 2, 1, Phase.RUNNING, (START,)),
        (Event.TICK, 20, 1, Phase.RUNNING, ()),
        (Event.DRAIN, 30, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 39, 0, Phase.DRAINED, ()),
        (Event.RESUME, 50, 0, Phase.RUNNING, (START,)),
    ],
    "resume means nothing to a running worker": [
        (Event.RESUME, 1, 1, Phase.RUNNING, ()),
    ],
    "recycling replaces the process when nothing is in flight": [
        (Event.RECYCLE, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.RESUME, 2, 1, Phase.DRAINING, ()),
        (Event.TICK, 3, 0, Phase.STOPPED, (Effect.RECYCLE,)),
    ],
    "recycling does not wait beyond the deadline": [
        (Event.RECYCLE, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 11, 1, Phase.STOPPED, (Effect.RECYCLE,)),
    ],
    "SIGTERM turns recycling into leaving, and keeps its clock": [
        (Event.RECYCLE, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.SIGTERM, 8, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 11, 1, Phase.STOPPED, (Effect.FORCE_EXIT,)),
    ],
    "a command turns recycling into staying": [
        (Event.RECYCLE, 1, 1, Phase.DRAINING, (STOP,)),
        (Event.DRAIN, 2, 1, Phase.DRAINING, (STOP,)),
        (Event.TICK, 3, 0, Phase.DRAINED, ()),
    ],
    "nothing happens after the end": [
        (Event.SIGTERM, 1, 0, Phase.STOPPED, (STOP, Effect.EXIT)),
        (Event.SIGTERM, 2, 0, Phase.STOPPED, ()),
        (Event.RESUME, 3, 0, Phase.STOPPED, ()),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_story(story: Story) -> None:
    state = Drain(timeout_seconds=10)
    for event, now, in_flight, phase, effects in story:
        state, happened = step(state, event, now=now, load=Load(in_flight, running=in_flight))
        assert (state.phase, happened) == (phase, effects), f"{event} at {now}"


def test_the_first_cause_is_the_reason() -> None:
    state, _ = step(Drain(10), Event.DRAIN, now=0, load=Load(1, 1))
    state, _ = step(state, Event.SIGTERM, now=4, load=Load(1, 1))
    assert state.cause is Cause.COMMAND
    assert state.remaining_seconds(4) == 6
    assert Drain(10).remaining_seconds(4) is None


UNSETTLED = Load(in_flight=2, running=0)


@pytest.mark.parametrize(("timeout_seconds", "patience"), [(300, SETTLE_SECONDS), (10, 10)])
def test_results_that_redis_does_not_hear_of_hold_a_drain_up_for_a_while_only(
    timeout_seconds: float, patience: float
) -> None:
    state, _ = step(Drain(timeout_seconds), Event.SIGTERM, now=0, load=Load(2, 1))
    state, _ = step(state, Event.TICK, now=5, load=UNSETTLED)
    left = min(patience, timeout_seconds - 5)
    assert state.remaining_seconds(5) == left
    state, effects = step(state, Event.TICK, now=4.9 + left, load=UNSETTLED)
    assert (state.phase, effects) == (Phase.DRAINING, ())
    state, effects = step(state, Event.TICK, now=5 + left, load=UNSETTLED)
    assert (state.phase, effects) == (Phase.STOPPED, (Effect.FORCE_EXIT,))


def test_a_handler_that_started_after_all_gets_its_full_time() -> None:
    state, _ = step(Drain(300), Event.SIGTERM, now=0, load=Load(1, 0))
    state, _ = step(state, Event.TICK, now=1, load=Load(1, 1))
    assert state.remaining_seconds(1) == 299


def test_recycling_never_leaves_results_behind() -> None:
    state, _ = step(Drain(10), Event.RECYCLE, now=0, load=UNSETTLED)
    state, effects = step(state, Event.TICK, now=1000, load=UNSETTLED)
    assert (state.phase, effects) == (Phase.DRAINING, ())
    state, effects = step(state, Event.SIGTERM, now=1001, load=UNSETTLED)
    assert state.remaining_seconds(1001) == 10
    _, effects = step(state, Event.TICK, now=1002, load=Load(0, 0))
    assert effects == (Effect.EXIT,)
