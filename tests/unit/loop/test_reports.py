"""Who has a status to write waits for those who have no workers yet, and is called in time."""

from __future__ import annotations

import contextlib

import pytest

from redisqueue_operator.api.model import Key
from redisqueue_operator.loop.reports import AT_ONCE, AT_ONCE_MEANWHILE, Reports
from redisqueue_operator.loop.workqueue import WorkQueue

OTHER = Key("shop", "other")
KEYS = [Key("shop", f"queue-{number}") for number in range(AT_ONCE + 4)]


@pytest.fixture
def queue() -> WorkQueue[Key]:
    return WorkQueue(clock=lambda: 100.0)


@pytest.fixture
def reports(queue: WorkQueue[Key]) -> Reports:
    return Reports(queue)


async def served(queue: WorkQueue[Key]) -> list[Key]:
    """All that are due, taken and done."""
    found = []
    while queue.waiting():
        found.append(await queue.get())
        queue.done(found[-1])
    return found


@pytest.mark.parametrize(("behind", "most"), [(False, AT_ONCE), (True, AT_ONCE_MEANWHILE)])
def test_fewer_are_written_at_once_while_others_wait_to_be_looked_at(
    queue: WorkQueue[Key], reports: Reports, behind: bool, most: int
) -> None:
    if behind:
        queue.add(OTHER)
    with contextlib.ExitStack() as stack:
        for key in KEYS[:most]:
            assert not reports.is_crowded(key)
            stack.enter_context(reports.writing())
        assert reports.is_crowded(KEYS[-1])
    assert not reports.is_crowded(KEYS[-1]), "they are written"


async def test_who_waits_is_called_in_order_and_nobody_twice(queue: WorkQueue[Key], reports: Reports) -> None:
    for key in KEYS:
        reports.wait(key)
    reports.wait(KEYS[0])
    reports.call_next(OTHER)
    reports.call_next(OTHER)  # those who were called have not been looked at yet
    called = await served(queue)
    assert called == KEYS[:AT_ONCE]
    assert [key for key in called if reports.is_crowded(key)] == []
    with reports.writing():
        reports.call_next(OTHER)
        assert await served(queue) == KEYS[AT_ONCE:]


async def test_a_few_are_called_while_others_wait_to_be_looked_at(
    queue: WorkQueue[Key], reports: Reports
) -> None:
    queue.add(OTHER)
    for key in KEYS:
        reports.wait(key)
    reports.call_next(OTHER)
    assert await served(queue) == [OTHER, *KEYS[:AT_ONCE_MEANWHILE]]


async def test_who_was_called_has_a_place_although_others_wait(
    queue: WorkQueue[Key], reports: Reports
) -> None:
    reports.wait(KEYS[0])
    reports.call_next(OTHER)
    queue.add(OTHER)
    with contextlib.ExitStack() as stack:
        for _ in range(AT_ONCE_MEANWHILE):
            stack.enter_context(reports.writing())
        assert not reports.is_crowded(KEYS[0])
        assert reports.is_crowded(KEYS[0]), "the place was for one look"


async def test_a_look_that_failed_before_it_could_ask_leaves_its_place(
    queue: WorkQueue[Key], reports: Reports
) -> None:
    for key in KEYS:
        reports.wait(key)
    reports.call_next(OTHER)
    later = []
    for key in await served(queue):
        reports.call_next(key)
        later += await served(queue)
    assert later == KEYS[AT_ONCE:]


async def test_one_that_is_gone_is_not_called_and_holds_nobody_up(
    queue: WorkQueue[Key], reports: Reports
) -> None:
    for key in KEYS[:2]:
        reports.wait(key)
    reports.forget(KEYS[0])
    reports.call_next(OTHER)
    reports.forget(KEYS[1])  # called, and gone before the look
    queue.forget(KEYS[1])
    reports.wait(KEYS[2])
    reports.call_next(OTHER)
    assert await served(queue) == [KEYS[2]]
