"""A Plan, step by step. Nothing is decided here: what is refused is a fact for the next plan."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from redis_message_queue.trouble import AWAY
from redisqueue_operator.apply.hindrance import hindrance_of, unprotected_of, unreturned_of
from redisqueue_operator.decide.look import Done
from redisqueue_operator.decide.status import lost_in
from redisqueue_operator.errors import PlatformError
from redisqueue_operator.platform import Mark, Protect, SetFinalizer, SetNumber, WriteStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.decide.canary import Split
    from redisqueue_operator.decide.look import Object, Plan
    from redisqueue_operator.decide.status.worth import Path
    from redisqueue_operator.observe.facts import Hindrance, PodObservation
    from redisqueue_operator.observe.redis.sampler import Sampler
    from redisqueue_operator.platform import Platform

log = logging.getLogger(__name__)


async def execute(rq: RedisQueue, plan: Plan, platform: Platform, sampler: Sampler[Key], now: float) -> Done:
    """What dead workers hold, children, number of workers, recall, status, Events, finalizer, protection.

    The first step that fails ends it, but for the first, the last and an Event: nothing builds upon these.
    `now` is the engine's clock.
    """
    returned, unreturned = await _give_back_ended(rq, plan, sampler, now)
    done = await _in_order(rq, plan, platform, sampler, now)
    unprotected = await _protect(rq, plan, platform, now)
    return replace(done, returned=returned, unreturned=unreturned, unprotected=unprotected)


async def _in_order(
    rq: RedisQueue, plan: Plan, platform: Platform, sampler: Sampler[Key], now: float
) -> Done:
    """The steps of which each builds upon those before."""
    step, written, scaled, told = "", None, None, False
    lost: tuple[Path, ...] = ()
    try:
        if plan.children is not None:
            step = "children"
            written = await platform.execute(rq, plan.children)
        if plan.scale is not None:
            step = "scale"
            scaled = await _scale(rq, plan, platform, sampler)
            if scaled is None:
                return Done(failed="retire")
        if plan.recall:
            step = "recall"
            await sampler.unretire(rq.key, plan.recall)
        if plan.status is not None:
            step = "status"
            await platform.execute(rq, WriteStatus(plan.status))
            told, lost = True, await _lost(rq, plan.status, platform)
        await _tell(rq, plan, platform)
        if plan.finalizer is not None:
            step = "finalizer"
            await platform.execute(rq, SetFinalizer(plan.finalizer))
    except Exception as error:
        hindrance = hindrance_of(error, now) if step in ("scale", "recall") else None
        return Done(failed=step, error=error, hindrance=hindrance, told=told, lost=lost)
    return Done(written=written, scaled=scaled, told=told, lost=lost)


async def _lost(rq: RedisQueue, status: Object, platform: Platform) -> tuple[Path, ...]:
    """What of a status that was just written is not there."""
    kept = await platform.get(rq.key)
    return tuple(lost_in(kept.get("status") or {}, status)) if kept is not None else ()


async def _give_back_ended(
    rq: RedisQueue, plan: Plan, sampler: Sampler[Key], now: float
) -> tuple[int | None, Hindrance | None]:
    """Have what dead workers hold pending again: how many messages, or why not. Nothing builds upon it."""
    if not plan.give_back:
        return None, None
    try:
        return await sampler.give_back(rq.key, plan.give_back), None
    except (*AWAY, PlatformError, TimeoutError) as error:
        log.warning("%s: messages of workers that have ended are not back yet: %s", rq.key, error)
        return None, unreturned_of(error, now)


async def _protect(rq: RedisQueue, plan: Plan, platform: Platform, now: float) -> Hindrance | None:
    """Have pods left on their nodes, or no longer: why not. It is a help, and holds up nothing."""
    victims = plan.scale.victims if plan.scale is not None else ()  # their marks have said so already
    release = tuple(pod for pod in plan.release if pod[0] not in victims)
    try:
        if plan.protect:
            await platform.execute(rq, Protect(plan.protect))
        if release:
            await platform.execute(rq, Protect(release, protect=False))
    except (PlatformError, OSError, TimeoutError) as error:
        log.debug("%s: pods are not protected as they should be: %s", rq.key, error)
        return unprotected_of(error, now)
    return None


async def _scale(rq: RedisQueue, plan: Plan, platform: Platform, sampler: Sampler[Key]) -> Split | None:
    """Retire who goes, mark their pods, write the number; what was written, None where all of them stay.

    Who claimed a message meanwhile refuses to be retired, and stays. What was done is undone where the number
    cannot be written. Marks stay where no answer comes: the number may have changed, and they say who goes.
    """
    scale = plan.scale
    assert scale is not None  # noqa: S101  (that is why we are here)
    retired = await sampler.retire(rq.key, plan.retire) if plan.retire else ()
    try:
        scale = scale.sparing(set(plan.retire) - set(retired))
        if not scale.changes:
            return None
        victims = _pods(scale.victims, scale.fleet.pods)
        left = _pods([name for name in scale.fleet.marked if name not in scale.victims], scale.fleet.pods)
        if left:
            await platform.execute(rq, Mark(left, first=False))
        try:
            if victims:
                released = tuple(pod for pod in victims if pod in plan.release)
                await platform.execute(rq, Mark(victims, released=released))
            await platform.execute(rq, SetNumber(scale.fleet, scale.split, scale.victims))
        except PlatformError:
            if victims:
                await platform.execute(rq, Mark(victims, first=False))
            raise
    except BaseException:
        await _give_back(rq, retired, sampler)
        raise
    return scale.split


async def _give_back(rq: RedisQueue, retired: tuple[str, ...], sampler: Sampler[Key]) -> None:
    """Have these workers claim again. Where that fails a later look finds them."""
    try:
        if retired:
            await sampler.unretire(rq.key, retired)
    except Exception as error:
        log.debug("%s: workers that stay are still retired: %s", rq.key, error)


def _pods(names: Iterable[str], pods: Iterable[PodObservation]) -> tuple[tuple[str, str], ...]:
    """Names with uids, of those that were seen."""
    uids = {pod.name: pod.uid for pod in pods}
    return tuple((name, uids[name]) for name in names if name in uids)


async def _tell(rq: RedisQueue, plan: Plan, platform: Platform) -> None:
    """The Events; one that is refused is logged: a namespace that ends takes none."""
    for event in plan.events:
        try:
            await platform.execute(rq, event)
        except (PlatformError, OSError, TimeoutError) as error:
            log.warning("%s: the Event %s could not be written: %s", rq.key, event.reason, error)
