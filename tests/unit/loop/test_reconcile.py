"""The control loop on a platform in memory and a real Valkey."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.support.acl import PASSWORD, grant
from tests.support.fake_platform import FakePlatform
from tests.support.waiting import quiet, until

from redis_message_queue.consumer import Consumer, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.decide.status import conditions
from redisqueue_operator.errors import Conflict, PlatformError
from redisqueue_operator.loop.reconcile import AT_ONCE, Engine
from redisqueue_operator.observe.facts import Fleet
from redisqueue_operator.observe.redis import sampler
from redisqueue_operator.serve.page.history import Gauge, PageHistory
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redisqueue_operator.api.model import Key


@pytest.fixture
def platform(redis_url: str) -> FakePlatform:
    return FakePlatform(redis_url)


@pytest.fixture
async def engine(platform: FakePlatform) -> AsyncIterator[Engine]:
    stop = asyncio.Event()
    engine = Engine(platform)
    task = asyncio.create_task(engine.run(stop))
    yield engine
    stop.set()
    await task


async def sampled(platform: FakePlatform, engine: Engine, name: str, **spec: object) -> Key:
    """A RedisQueue that the engine knows and reads."""
    key = platform.put(name, **spec)
    engine.notify(key)
    await until(
        lambda: platform.condition(key, "RedisReachable").get("status") == "True", f"{name} is sampled"
    )
    return key


def workers(client: redis.Redis, platform: FakePlatform, key: Key, count: int) -> list[Consumer]:
    """Idle workers that have reported, one for each pod."""
    names = [f"pod-{n}" for n in range(count)]
    uid = platform.objects[key]["metadata"]["uid"]
    found = []
    for name in names:
        identity = WorkerIdentity(name, 1, pod_uid=name, owner_uid=uid)
        consumer = Consumer(client, key.name, worker=identity)
        consumer.report(busy=0, oldest_start_age_seconds=None, draining=False)
        found.append(consumer)
    platform.have_pods(key, *names)
    return found


async def test_a_redis_that_evicts_is_told_and_one_that_says_nothing_is_unknown(
    platform: FakePlatform, engine: Engine
) -> None:
    with EmbeddedRedis(arguments=("--maxmemory-policy", "allkeys-lru", "--appendonly", "yes")) as cache:
        platform.redis_url = cache.url
        key = await sampled(platform, engine, "jobs")
        told = platform.condition(key, "RedisDurable")
        assert (told["status"], told["reason"]) == ("False", "EvictsKeys")
        assert "allkeys-lru" in told["message"]
        with redis.Redis.from_url(cache.url) as client:
            grant(client, "operator", "operator", queue="silent")
            client.execute_command("ACL", "SETUSER", "operator", "+client|setname")
        platform.redis_url = cache.url.replace("//", f"//operator:{PASSWORD}@")
        silent = await sampled(platform, engine, "silent")
        told = platform.condition(silent, "RedisDurable")
        assert (told["status"], told["reason"]) == ("Unknown", "NotTold")


async def test_from_nothing_to_the_whole_need_in_one_write(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = await sampled(platform, engine, "jobs")
    redis_client.lpush(QueueKeys("jobs").pending, *(f"m{n}" for n in range(23)))
    await until(lambda: platform.scales(key), "a scale write")
    assert platform.scales(key) == [5]
    row = next(row for row in engine.snapshot() if row.key == key)
    await until(lambda: platform.status(key)["decision"]["to"] == 5, "the decision in status")
    assert (row.pending, row.wanted) == (23, 5)


async def test_the_page_is_told_what_was_seen_and_changed_until_the_queue_is_gone(
    platform: FakePlatform, redis_client: redis.Redis
) -> None:
    history, stop = PageHistory(), asyncio.Event()
    engine = Engine(platform, page=history)
    task = asyncio.create_task(engine.run(stop))
    key = await sampled(platform, engine, "jobs")
    redis_client.lpush(QueueKeys("jobs").pending, *(f"m{n}" for n in range(23)))
    await until(lambda: history.queues[key].changes, "a change")
    (change,) = history.queues[key].changes
    assert (change.before, change.after, change.reason) == (0, 5, "BacklogPerSlot")
    now = history.clock()
    await until(lambda: history.queues[key].ring.series(now, Gauge.WAITING)[-1] == 23, "what waits")
    del platform.objects[key]
    engine.notify(key)
    await until(lambda: not history.queues, "nothing of what is gone")
    stop.set()
    await task


async def test_the_first_message_of_a_sleeping_queue_is_answered_at_once(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sample of all queues is due for an hour: it is the message that wakes its queue."""
    monkeypatch.setattr(sampler, "interval_seconds", lambda _: 3600.0)
    monkeypatch.setattr(sampler, "SLOWEST_SECONDS", 3600.0)
    monkeypatch.setattr(sampler, "FASTEST_SECONDS", 3600.0)
    for n in range(10):
        key = await sampled(platform, engine, f"q{n}")
        await until(lambda: engine.vitals().told == 1, "asleep, and it alone")
        redis_client.lpush(QueueKeys(f"q{n}").pending, "m")
        await until(lambda key=key: platform.scales(key), "a scale write")


async def test_what_a_dead_worker_held_is_pending_again_at_once(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = await sampled(platform, engine, "jobs", scaling={"mode": "Paused"})
    keys = QueueKeys("jobs")
    redis_client.lpush(keys.pending, *(f"m{n}" for n in range(8)))
    for instance in ("dead", "alive"):
        worker = WorkerIdentity("pod", 4, pod_uid="pod", instance=instance)
        assert len(Consumer(redis_client, "jobs", worker=worker).claim(4).claims) == 4
    platform.have_pods(key, "pod")
    engine.notify(key)
    await until(lambda: engine.snapshot()[0].in_flight == 8, "all are in hand")
    platform.ended = ("dead",)
    engine.notify(key)
    await until(lambda: redis_client.llen(keys.pending) == 4, "the dead one's are back")
    told = ("event", "jobs", "MessagesReturned")
    await until(lambda: told in platform.writes, "an Event says so")
    assert redis_client.zcard(keys.lease_deadlines) == 4
    redis_client.lpush(keys.pending, "news")
    await until(lambda: engine.snapshot()[0].pending == 5, "it looks again")
    assert platform.writes.count(told) == 1


async def test_a_login_that_may_not_give_back_is_told_and_holds_up_nothing(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    grant(redis_client, "operator", "operator", queue="jobs")
    redis_client.execute_command("ACL", "SETUSER", "operator", "+client|setname", "-hscan")
    platform.redis_url = platform.redis_url.replace("//", f"//operator:{PASSWORD}@")
    key = await sampled(platform, engine, "jobs")
    keys = QueueKeys("jobs")
    redis_client.lpush(keys.pending, "m1", "m2")
    worker = WorkerIdentity("pod", 4, pod_uid="pod", instance="dead")
    assert len(Consumer(redis_client, "jobs", worker=worker).claim(2).claims) == 2
    platform.ended = ("dead",)
    engine.notify(key)
    await until(lambda: platform.condition(key, "Degraded").get("reason") == "ReturnRefused", "it is told")
    assert "NoPermission" in platform.condition(key, "Degraded")["message"]
    redis_client.lpush(keys.pending, *(f"n{n}" for n in range(20)))
    await until(lambda: platform.scales(key)[-1:] == [5], "workers are scaled all the same")
    redis_client.execute_command("ACL", "SETUSER", "operator", "+hscan")
    await until(lambda: redis_client.llen(keys.pending) == 22, "they are back once that is allowed")
    await until(lambda: platform.condition(key, "Degraded").get("reason") != "ReturnRefused", "and told")
    redis_client.execute_command("ACL", "DELUSER", "operator")


async def test_an_idle_fleet_costs_no_write(platform: FakePlatform, engine: Engine) -> None:
    for n in range(20):
        await sampled(platform, engine, f"q{n}")
    await until(
        lambda: all(platform.status(key).get("state") == "Idle" for key in platform.objects), "all idle"
    )
    await asyncio.to_thread(quiet, lambda: len(platform.writes), "no write", 2.0)


async def test_an_outage_of_redis_holds_the_workers(platform: FakePlatform) -> None:
    with EmbeddedRedis() as server:
        platform.redis_url = server.url
        stop = asyncio.Event()
        engine = Engine(platform)
        task = asyncio.create_task(engine.run(stop))
        key = await sampled(platform, engine, "jobs")
        server.stop(kill=True)
        await until(lambda: platform.condition(key, "RedisReachable")["status"] == "False", "outage told")
        assert platform.condition(key, "RedisReachable")["reason"] in ("ConnectionRefused", "ConnectionLost")
        platform.have_pods(key, "a", "b", "c")
        engine.notify(key)
        await asyncio.sleep(1.0)
        assert platform.scales(key) == []  # unknown is never zero
        server.start()
        await until(lambda: platform.scales(key) == [0], "an empty queue needs nobody")
        stop.set()
        await task


async def test_a_victim_refuses_messages_before_it_goes(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = platform.put("jobs", replicas=3)
    idle = workers(redis_client, platform, key, 3)
    claims: list[int] = []

    def arrive() -> None:
        """A message that arrives when the workers are told already, but still there."""
        redis_client.lpush(QueueKeys("jobs").pending, "late")
        claims.extend(len(worker.claim(1).claims) for worker in idle)

    platform.before_scale = arrive
    platform.put(
        "jobs", scaling={"scaleDown": {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}}
    )
    engine.notify(key)
    await until(lambda: platform.scales(key), "a shrink")
    assert platform.scales(key)[0] == 0
    assert claims[:3] == [0, 0, 0]


async def test_another_autoscaler_chooses_and_idle_workers_still_go_first(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    """It writes `spec.replicas`, through the scale subresource; before that, nothing is written."""
    key = platform.put("jobs", scaling={"mode": "External"})
    redis_client.lpush(QueueKeys("jobs").pending, *"abcdefgh")
    first, second, third = workers(redis_client, platform, key, 3)
    assert len(second.claim(1).claims) == 1
    engine.notify(key)
    await until(lambda: [row.in_flight for row in engine.snapshot()] == [1], "a look")
    assert platform.scales(key) == []
    platform.put("jobs", scaling={"mode": "External"}, replicas=1)
    engine.notify(key)
    await until(lambda: platform.scales(key), "a shrink")
    (to, victims), *_ = platform.writes_of(key)
    assert (to, sorted(victims)) == (1, ["pod-0", "pod-2"])
    assert first.claim(1).retired
    assert third.claim(1).retired


async def test_who_claimed_meanwhile_stays(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = platform.put("jobs", scaling={"mode": "Paused"})
    first, second = workers(redis_client, platform, key, 2)
    redis_client.lpush(QueueKeys("jobs").pending, "m")
    assert len(first.claim(1).claims) == 1
    platform.put("jobs")
    engine.notify(key)
    await until(lambda: platform.scales(key), "a shrink")
    assert platform.writes_of(key) == [(1, ("pod-1",))]
    assert second.claim(1).retired


async def test_victims_that_go_on_are_told_and_not_asked_without_end(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def go_on(*_: object) -> tuple[str, ...]:
        nonlocal asked
        asked += 1
        return ()

    monkeypatch.setattr(sampler.Sampler, "retire", go_on)
    key = platform.put("jobs")
    workers(redis_client, platform, key, 2)
    engine.notify(key)
    blocked = lambda: (platform.status(key).get("decision") or {}).get("blockedBy")  # noqa: E731
    await until(lambda: blocked() == "BusyWorkers", "it is told what holds them")
    before = asked
    await asyncio.sleep(1.0)
    assert asked - before < 10
    assert platform.scales(key) == []


async def test_a_failed_shrink_gives_the_victims_back(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = platform.put("jobs")
    platform.refuse = [Conflict("somebody was faster")]
    (worker,) = workers(redis_client, platform, key, 1)
    retired = []

    def look() -> None:
        retired.append(worker.claim(1).retired)
        if len(retired) == 1:
            redis_client.lpush(QueueKeys("jobs").pending, "m")  # so that there is work when it is given back

    platform.before_scale = look
    engine.notify(key)
    await until(lambda: retired == [True], "the attempt")
    await until(lambda: worker.claim(1).claims, "the worker claims again")


async def test_a_spec_that_says_nothing_usable_is_told_and_touches_nothing(
    platform: FakePlatform, engine: Engine
) -> None:
    key = platform.put("jobs", worker={"handler": 5})
    engine.notify(key)
    await until(lambda: platform.condition(key, "Ready"), "a verdict")
    ready = platform.condition(key, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.worker.handler" in ready["message"]
    assert not [write for write in platform.writes if write[0] in ("apply", "scale")]

    platform.put("jobs")
    engine.notify(key)
    await until(lambda: platform.condition(key, "Ready")["status"] == "True", "well after the correction")


async def test_queues_of_one_redis_share_a_connection_and_the_last_one_closes_it(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    keys = [await sampled(platform, engine, f"q{n}", scaling={"wake": "Poll"}) for n in range(5)]
    # One that was given up, as after a timeout, is closed a moment later.
    await until(lambda: connections(redis_client) == 1, "they share one")
    for key in keys:
        del platform.objects[key]
        engine.notify(key)
    await until(lambda: connections(redis_client) == 0, "all connections closed")
    assert engine.snapshot() == []


async def test_settings_are_asked_for_again_when_their_secrets_are_a_minute_old(
    platform: FakePlatform, engine: Engine
) -> None:
    platform.settings_age_seconds = 54.0  # read long ago, for another object
    await sampled(platform, engine, "jobs")
    before = platform.settings_asked
    await until(lambda: platform.settings_asked > before, "asked again within its minute")


async def test_a_conflict_without_end_does_not_become_a_storm(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = await sampled(platform, engine, "jobs")
    attempts: list[float] = []
    platform.before_scale = lambda: attempts.append(time.monotonic())
    platform.refuse = [Conflict("somebody is always faster")] * 1000
    redis_client.lpush(QueueKeys("jobs").pending, "m")
    await until(lambda: len(attempts) >= 6, "attempts")
    waits = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert all(wait > 0.04 * 2**n for n, wait in enumerate(waits)), "each is about twice the one before"
    await until(lambda: platform.condition(key, "ScalingActive")["reason"] == "ScaleConflict", "it is told")
    assert "somebody is always faster" in platform.condition(key, "ScalingActive")["message"]
    assert platform.condition(key, "Stalled")["status"] == "True"
    await until(lambda: platform.status(key)["queue"]["pending"] == 1, "the counters go on")
    platform.refuse = []
    await until(lambda: platform.scales(key) == [1], "it is done once it can be")
    await until(lambda: ("event", "jobs", "ScalingResumed") in platform.writes, "that is told, too")
    events = [write[2] for write in platform.writes if write[0] == "event"]
    assert events.count("ScaleConflict") == 1


async def test_a_refused_change_hides_nothing_and_goes_on_when_it_is_allowed(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = await sampled(platform, engine, "jobs")
    platform.refuse = [PlatformError("no more than three on Fridays")] * 1000
    redis_client.lpush(QueueKeys("jobs").pending, *(f"m{n}" for n in range(20)))
    await until(lambda: platform.condition(key, "ScalingActive")["reason"] == "ScaleRefused", "it is told")
    told = platform.condition(key, "ScalingActive")
    assert (told["status"], told["message"]) == ("False", "no more than three on Fridays")
    await until(lambda: platform.status(key)["queue"]["pending"] == 20, "the counters go on")
    held = platform.status(key)["decision"]
    assert (held["from"], held["to"], held["blockedBy"]) == (0, 0, "ScaleRefused")
    assert platform.status(key)["workers"]["desired"] == 0
    said = "\n".join(engine.explain(key) or ())
    assert "ScaleRefused: no more than three on Fridays" in said
    assert "held back: the change was refused" in said
    attempts = len(platform.refuse)
    await asyncio.sleep(2.0)
    assert attempts - len(platform.refuse) <= 2, "a rule is not asked without end"

    platform.refuse = []
    await until(lambda: platform.scales(key) == [4], "workers once they are allowed")
    await until(lambda: platform.condition(key, "ScalingActive")["status"] == "True", "and it says so")
    events = [write[2] for write in platform.writes if write[0] == "event"]
    assert events.count("ScaleRefused") == events.count("ScalingResumed") == events.count("Scaled") == 1


async def test_pods_that_nobody_makes_are_told_after_a_while(
    platform: FakePlatform, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster's controllers may not be at work, and then nobody else says anything."""
    monkeypatch.setattr(conditions, "UNMADE_SECONDS", 1.0)
    key = await sampled(platform, engine, "jobs")
    platform.fleets[key] = Fleet(replicas=2, version="1")
    platform.put("jobs", replicas=2)
    engine.notify(key)
    await until(lambda: platform.condition(key, "Ready").get("reason") == "PodsMissing", "it is told")
    assert platform.condition(key, "Ready")["status"] == "False"
    assert platform.condition(key, "Reconciling")["status"] == "True"
    assert "2 pods are wanted and not made" in platform.condition(key, "Progressing")["message"]
    assert ("event", "jobs", "PodsMissing") in platform.writes
    platform.have_pods(key, "jobs-a", "jobs-b")
    engine.notify(key)
    await until(lambda: platform.condition(key, "Ready")["status"] == "True", "well again")


async def test_drain_empties_the_queue_before_the_object_goes(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    key = await sampled(platform, engine, "jobs", deletionPolicy="Drain")
    assert platform.objects[key]["metadata"]["finalizers"] == ["redisqueue.dev/drain"]
    redis_client.lpush(QueueKeys("jobs").pending, "m1", "m2")
    platform.delete(key)
    engine.notify(key)
    await until(lambda: platform.scales(key), "workers for what is left")
    await until(lambda: platform.condition(key, "Ready")["reason"] == "Deleting", "the reason in status")
    assert ("event", "jobs", "Deleting") in platform.writes

    redis_client.delete(QueueKeys("jobs").pending)  # as if they had handled it
    await until(lambda: key not in platform.objects, "the empty queue is let go")


async def test_an_unusable_spec_does_not_hold_a_deletion_up(platform: FakePlatform, engine: Engine) -> None:
    key = await sampled(platform, engine, "jobs", deletionPolicy="Drain")
    platform.put("jobs", deletionPolicy="Drain", worker={"handler": 5})
    platform.delete(key)
    engine.notify(key)
    await until(lambda: key not in platform.objects, "it is let go")


async def test_the_newer_of_two_on_one_queue_touches_nothing(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    old = await sampled(platform, engine, "old", queue={"name": "shared"}, replicas=1)
    uid = platform.objects[old]["metadata"]["uid"]
    at_work = Consumer(redis_client, "shared", worker=WorkerIdentity("w", 1, pod_uid="w", owner_uid=uid))
    at_work.report(busy=0, oldest_start_age_seconds=None, draining=False)
    new = platform.put("new", queue={"name": "shared"})
    engine.notify(new)
    await until(lambda: platform.condition(new, "Ready").get("reason") == "Conflict", "the newer one yields")
    redis_client.lpush(QueueKeys("shared").pending, *(f"m{n}" for n in range(20)))
    await until(
        lambda: [row.pending for row in engine.snapshot() if row.key == new] == [20], "both have seen it"
    )
    await asyncio.sleep(0.5)  # that nothing is done can only be waited for
    assert platform.scales(new) == []
    assert "default/old" in platform.condition(new, "Ready")["message"]

    at_work.deregister()
    platform.delete(old)
    engine.notify(old)
    await until(lambda: platform.scales(new) == [4], "the newer one works when the older one is gone")


async def test_a_shared_queue_has_as_many_workers_as_the_others_leave_to_need(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    others = [
        Consumer(redis_client, "shared", worker=WorkerIdentity(name, slots, pod_uid=name, owner_uid=uid))
        for name, slots, uid in (("a", 2, "of-another-cluster"), ("b", 1, ""), ("leaving", 9, "a-third"))
    ]

    def report() -> bool:
        """They do so every other second."""
        for each in others:
            draining = each is others[-1]
            each.report(busy=0, oldest_start_age_seconds=None, draining=draining)
        return True

    report()
    shared = {"name": "shared", "sharing": "Shared"}
    ours = [await sampled(platform, engine, name, queue=shared) for name in ("one", "two")]
    assert [platform.condition(key, "Ready").get("reason") for key in ours].count("Conflict") == 0

    report()
    redis_client.lpush(QueueKeys("shared").pending, *(f"m{n}" for n in range(50)))
    for key in ours:
        await until(lambda key=key: report() and platform.scales(key), "it scales")
        assert platform.scales(key)[0] == 7, "what the three slots leave of ten"


async def test_one_bad_object_does_not_stop_the_others(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    platform.refuse = [RuntimeError("a bug")] * 3
    redis_client.lpush(QueueKeys("bad").pending, "m")
    bad = platform.put("bad")
    engine.notify(bad)
    await until(lambda: len(platform.refuse) < 3, "the failure")
    good = await sampled(platform, engine, "good")
    redis_client.lpush(QueueKeys("good").pending, "m")
    await until(lambda: platform.scales(good), "the good one scales")
    await until(lambda: platform.scales(bad), "and so does the bad one in the end")


def connections(client: redis.Redis) -> int:
    return sum(each["name"] == "engine" for each in client.client_list())


async def test_reports_that_wait_keep_no_queue_from_its_workers(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await sampled(platform, engine, "jobs")
    stuck = asyncio.Event()

    async def waits(*_: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(platform, "write_status", waits)
    for number in range(40):  # more than there are workers
        engine.notify(platform.put(f"other-{number}"))
    await stuck.wait()
    await asyncio.sleep(0.5)
    redis_client.lpush(QueueKeys("jobs").pending, "message")
    await until(lambda: platform.scales(key) == [1], "a worker, although all reports wait")


class Clock:
    """Runs until it is stopped."""

    def __init__(self) -> None:
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        return time.monotonic() if self._stopped_at is None else self._stopped_at

    def stop(self) -> None:
        self._stopped_at = time.monotonic()


async def test_a_new_one_is_looked_at_before_those_that_are_known(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, over = Clock(), asyncio.Event()
    engine = Engine(platform, clock=clock)
    running = asyncio.create_task(engine.run(over))
    keys = [await sampled(platform, engine, f"queue-{number}") for number in range(AT_ONCE + 8)]
    begun: list[Key] = []
    go, get = asyncio.Event(), platform.get

    async def slow(key: Key) -> dict[str, Any] | None:
        begun.append(key)
        await go.wait()
        return await get(key)

    monkeypatch.setattr(platform, "get", slow)
    clock.stop()  # nothing is due but what is told of
    for key in keys[:AT_ONCE]:
        engine.notify(key)
    await until(lambda: len(begun) == AT_ONCE, "everybody is busy")
    new = platform.put("new")
    for key in (*keys[AT_ONCE:], new):
        engine.notify(key)
    go.set()
    await until(lambda: set(begun) >= {*keys, new}, "all were looked at")
    assert begun[AT_ONCE] == new
    over.set()
    await running


async def test_of_many_new_ones_everybody_is_told(platform: FakePlatform, engine: Engine) -> None:
    keys = [platform.put(f"queue-{number}") for number in range(60)]
    for key in keys:
        engine.notify(key)
    await until(
        lambda: all(platform.condition(key, "Ready").get("status") == "True" for key in keys), "all are told"
    )


async def test_a_limited_queue_has_the_workers_that_it_can_use(
    platform: FakePlatform, engine: Engine, redis_client: redis.Redis
) -> None:
    limits = {"maxInFlight": 5, "perKey": {"maxInFlight": 1}}
    worker = {"handler": "app:handle", "concurrency": 2}
    key = await sampled(platform, engine, "jobs", queue={"limits": limits}, worker=worker)
    redis_client.lpush(QueueKeys("jobs").pending, *(f"m{n}" for n in range(50)))
    await until(lambda: platform.scales(key), "a scale write")
    assert platform.scales(key) == [3]
    await until(lambda: platform.status(key).get("decision"), "the decision in status")
    assert platform.status(key)["decision"]["reason"] == "MaxInFlight"
    await until(
        lambda: "spec.queue.limits let 3" in platform.condition(key, "ScalingActive")["message"], "it is told"
    )
    told = engine.explain(key) or []
    assert any("lets 3 work" in line for line in told)
    assert any("limits of single keys" in line for line in told)
