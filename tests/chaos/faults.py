"""What is broken, one function each: it breaks, says whom that concerns, and mends when it goes on."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.chaos.policies import NAME, refusal
from tests.support.cluster import provider

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.chaos.world import ClusterWorld


@dataclass(frozen=True)
class Impact:
    """Who may handle a message again because of it: pods that died, or were kept from Redis (None: all)."""

    deadly: bool = False
    pods: frozenset[str] | None = frozenset()
    ahead_seconds: float = 0.0
    """Redis' clock is set forward by so much, and back when it is mended; less than 0: first back."""
    over: Callable[[], bool] = lambda: True
    """What else must be true before all is well."""


NONE = Impact()
ALL = Impact(pods=None)
Body: TypeAlias = "Callable[[Any, random.Random], Iterator[Impact]]"


@dataclass(frozen=True)
class Fault:
    name: str
    text: str
    holds_seconds: tuple[float, float]
    """How long it lasts, at least and at most."""
    body: Callable[[Any, random.Random], AbstractContextManager[Impact]]
    part: str
    """What it breaks: never two of one part at once."""
    needs_api: bool
    """Does it ask the API server for something, and so cannot begin or be mended while that is broken?"""
    brief: bool
    """Is it proven, and cheap enough for each run of the tests?"""


EVERYTHING, API = "everything", "API"
FAULTS: dict[str, Fault] = {}


def fault(
    name: str,
    part: str,
    *,
    holds_seconds: tuple[float, float] = (0.0, 0.0),
    needs_api: bool = False,
    brief: bool = False,
) -> Callable[[Body], Body]:
    """Make a generator function a fault of that name; its documentation says what it does."""

    def known(body: Body) -> Body:
        text = (body.__doc__ or "").strip()
        FAULTS[name] = Fault(name, text, holds_seconds, contextmanager(body), part, needs_api, brief)
        return body

    return known


def holds(names: list[str]) -> dict[str, tuple[float, float]]:
    """What `plan` needs to know of these faults."""
    return {name: FAULTS[name].holds_seconds for name in names}


def may_overlap(one: str, other: str) -> bool:
    """May one of these faults begin before the other has healed?"""
    both = FAULTS[one], FAULTS[other]
    parts = {each.part for each in both}
    if len(parts) == 1 or EVERYTHING in parts:
        return False
    return API not in parts or not any(each.needs_api for each in both)


@fault("worker killed", "workers", needs_api=True, brief=True)
def worker_killed(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to all processes of a worker's pod"""
    workers = world.workers()
    victim = draw.choice(workers[: max(1, len(workers) // 2)])
    world.kill(victim)
    yield Impact(deadly=True, pods=frozenset({victim["metadata"]["name"]}))


@fault("operator killed", "operators", needs_api=True, brief=True)
def operator_killed(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to the operator that leads"""
    world.kill(world.leader())
    yield NONE


@fault("Redis restarted", "Redis", holds_seconds=(0.5, 10.0), brief=True)
def redis_restarted(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to the master; it comes back with its file of all writes"""
    world.redis.stop()
    try:
        yield ALL
    finally:
        world.redis.start()
        world.redis.in_step()


@fault("failover", "Redis", needs_api=True, brief=True)
def failed_over(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """Asked for, the Sentinels have the replica take over; the old master lives on as its replica"""
    world.redis.fail_over()
    yield ALL


@fault("master lost", "Redis", needs_api=True, brief=True)
def master_lost(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to the master: two of three Sentinels agree that it is gone, and the replica takes over"""
    world.redis.fail_over(killed=True)
    yield ALL


@fault("clock stepped", "clock", holds_seconds=(1.0, 10.0), brief=True)
def clock_stepped(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """Redis' clock is set forward by more than a lease, or back, or by a little; and right again

    Set forward, it ends all leases that it passes, and so explains that what was in hand comes again. Set
    back, it makes leases longer and what is delayed later, and loses nothing. A little is less than what is
    left of a lease that is renewed, and explains nothing either.
    """
    lease = float(world.lease_seconds)
    ahead = draw.choice((1, -1)) * draw.choice((draw.uniform(1.1, 1.3), draw.uniform(0.1, 0.5))) * lease
    world.redis.clock.step_to(ahead)
    try:
        yield Impact(ahead_seconds=ahead)
    finally:
        world.redis.clock.step_to(0.0)


@fault("pod cut off", "network", needs_api=True, holds_seconds=(2.0, 30.0))
def pod_cut_off(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """Nothing that a worker's pod sends leaves the node: neither answers nor refusals come"""
    victim = draw.choice(world.workers())
    with world.firewall("--source", victim["status"]["podIP"], "--jump", "DROP"):
        yield Impact(pods=frozenset({victim["metadata"]["name"]}))


@fault("Redis cut off", "network", holds_seconds=(2.0, 30.0))
def redis_cut_off(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """No pod reaches Redis: packets vanish, or connections are reset"""
    ways = (("DROP",), ("REJECT", "--reject-with", "tcp-reset"))
    ports = ",".join(map(str, world.redis.ports))
    rule = ("--protocol", "tcp", "--match", "multiport", "--dports", ports, "--jump", *draw.choice(ways))
    with world.firewall(*rule):
        yield ALL


@fault("Redis full", "Redis", holds_seconds=(2.0, 20.0))
def redis_full(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """maxmemory is less than what is used: what needs room is refused"""
    world.redis.admin("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield ALL
    finally:
        world.redis.admin("CONFIG", "SET", "maxmemory", "0")


@fault("too few replicas", "Redis", holds_seconds=(2.0, 20.0))
def too_few_replicas(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """min-replicas-to-write is more than there are: no write is taken"""
    world.redis.admin("CONFIG", "SET", "min-replicas-to-write", "2")
    try:
        yield ALL
    finally:
        world.redis.admin("CONFIG", "SET", "min-replicas-to-write", "0")


def _restarted(world: ClusterWorld, program: str) -> Iterator[Impact]:
    provider("crash", program)
    try:
        yield NONE
    finally:
        provider("recover", program)


@fault("kubelet restarted", "node", holds_seconds=(1.0, 10.0))
def kubelet_restarted(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to the kubelet, and it starts again"""
    return _restarted(world, "kubelet")


@fault("containerd restarted", "node", holds_seconds=(1.0, 10.0))
def containerd_restarted(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to containerd, and it starts again"""
    return _restarted(world, "containerd")


@fault("API server restarted", API, holds_seconds=(1.0, 15.0))
def api_server_restarted(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to the API server, and it starts again"""
    return _restarted(world, "apiserver")


@fault("etcd restarted", API, holds_seconds=(1.0, 15.0))
def etcd_restarted(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """SIGKILL to etcd, and it starts again"""
    return _restarted(world, "etcd")


@fault("template rolled", "workers", needs_api=True)
def template_rolled(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """Another template for the pods of one queue, until no pod has the old one"""
    name = draw.choice(sorted(world.versions))
    world.versions[name] += 1
    world.apply(name)
    yield Impact(over=lambda: world.versions_at_work(name) == {str(world.versions[name])})


@fault("scaled by hand", "workers", needs_api=True)
def scaled_by_hand(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """Somebody sets the replicas of a Deployment, maybe to 0"""
    name = draw.choice(sorted(world.versions))
    world.kubectl("scale", f"deployment/{name}-worker", f"--replicas={draw.randint(0, 4)}")
    yield NONE


@fault("password rotated", "Redis", needs_api=True)
def password_rotated(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """The Secret has another one, the old one is refused, and whoever used it is logged out"""
    world.redis.admit(f"password-{draw.randrange(10**9)}")
    world.tell_password()
    world.redis.refuse_old()
    yield ALL


@fault("writes refused", "operators", needs_api=True, holds_seconds=(5.0, 30.0))
def writes_refused(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """A policy refuses the operator every change of numbers of workers, and of pods"""
    policy, binding = refusal(world.operators)
    world.cluster.apply(policy, binding)
    try:
        yield NONE
    finally:
        world.cluster.kubectl("delete", f"{binding['kind']},{policy['kind']}", NAME)


@fault("namespace taken away", EVERYTHING, needs_api=True)
def namespace_taken_away(world: ClusterWorld, draw: random.Random) -> Iterator[Impact]:
    """The namespace is deleted with all RedisQueues and the name of their Redis, and all is made again"""
    world.cluster.kubectl("delete", "namespace", world.namespace, "--timeout=150s")
    world.make()
    yield ALL
