"""What breaks around the operator: it takes over, waits, catches up, and writes nothing twice.

With LONG=1 outages last a minute; else they are short.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.api_proxy import CONFLICT, TOO_MANY, ApiProxy
from tests.support.api_server import ApiServer, binaries
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue
from tests.support.required import required
from tests.support.waiting import quiet

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_proxy import Refusal

LONG = bool(os.environ.get("LONG"))
OUTAGE_SECONDS = 60 if LONG else 4
USUAL_LEASE = "--lease-seconds=15"
SEVERAL_TRIES_SECONDS = 17 if LONG else 8
"""A standby tries to lead every two seconds, with a usual Lease."""
NOW = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An API server of its own, to be killed."""
    reason = "etcd, kube-apiserver and kubectl not found: set REDISQUEUE_CLUSTER_BIN to their folder"
    with ApiServer(required(binaries(), reason)) as server:
        cluster = Cluster(server)
        cluster.install()
        yield cluster


class Stage:
    """A namespace of its own, its RedisQueues, and operators that serve nothing else."""

    def __init__(self, cluster: Cluster, name: str, folder: Path, redis_url: str) -> None:
        self.cluster, self.name, self.redis_url = cluster, name, redis_url
        self._folder = folder
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def operator(
        self, name: str, through: ApiProxy | None = None, *arguments: str, **options: Any
    ) -> OperatorProcess:
        return OperatorProcess(
            through or self.cluster.server,
            self._folder / name,
            f"--namespace={self.name}",
            f"--watch-namespaces={self.name}",
            f"--pod-name={name}",
            *arguments,
            **options,
        )

    def proxy(self) -> ApiProxy:
        return ApiProxy(self.cluster.server, self._folder)

    def queue(self, name: str, **spec: Any) -> QueueKeys:
        """Make a RedisQueue, and wait until it is served."""
        scaling = {"maxReplicas": 20, "backlogPerSlot": 1, "scaleDown": NOW}
        queue = redis_queue(name, redis={"url": self.redis_url}, scaling=scaling, **spec)
        queue["metadata"]["namespace"] = self.name
        self.cluster.apply(queue)
        reachable = lambda: self.condition(name, "RedisReachable").get("status") == "True"  # noqa: E731
        until(reachable, f"{name} is sampled")
        return QueueKeys(name)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        return self.cluster.condition(name, kind, self.name)

    def replicas(self, name: str) -> int | None:
        return self.cluster.replicas(name, self.name)

    def decided(self, name: str) -> int | None:
        """The number of workers that the status says was decided last."""
        return self.cluster.decision(name, self.name).get("to")

    def until_replicas(self, name: str, number: int) -> None:
        until(lambda: self.replicas(name) == number, f"{number} workers of {name}")

    def leader(self) -> str:
        """The name of the operator that holds the Lease."""
        lease = self.cluster.get("lease", "redisqueue-operator", self.name) or {}
        return str((lease.get("spec") or {}).get("holderIdentity") or "").partition("_")[0]

    def versions(self, name: str) -> dict[str, str]:
        """The resourceVersions of what the operator has written for a queue."""
        kinds = {"rq": name, "deployment": f"{name}-worker", "poddisruptionbudget": f"{name}-worker"}
        objects = {kind: self.cluster.get(kind, called, self.name) for kind, called in kinds.items()}
        return {kind: obj["metadata"]["resourceVersion"] for kind, obj in objects.items() if obj}

    def delete(self, *names: str) -> None:
        self.cluster.run("delete", "rq", "-n", self.name, *names)


@pytest.fixture
def stage(
    cluster: Cluster, tmp_path: Path, redis_url: str, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    name = request.node.name.removeprefix("test_").replace("_", "-").partition("[")[0][:40].strip("-")
    stage = Stage(cluster, name, tmp_path, redis_url)
    yield stage
    cluster.run("delete", "rq,deployment,poddisruptionbudget", "--all", "-n", name)


def publish(client: redis.Redis, keys: QueueKeys, number: int) -> None:
    """All at once, so that one decision sees them all."""
    client.lpush(keys.pending, *(f"m{each}" for each in range(number)))


def scales(proxy: ApiProxy) -> list[int]:
    """The numbers of workers written through the proxy, in order."""
    return [write.body["spec"]["replicas"] for write in proxy.written("/scale")]


def repeated(proxy: ApiProxy) -> list[str]:
    """Paths that were written twice in a row with the same content, by a server that did it both times."""
    by_path = itertools.groupby(
        sorted((write for write in proxy.written("")), key=lambda write: write.path), lambda write: write.path
    )
    return [
        path
        for path, writes in by_path
        for first, second in itertools.pairwise(tuple(writes))
        if first.body == second.body and first.method == second.method == "PATCH"
    ]


@pytest.mark.parametrize("how", ["killed", "told to leave"])
def test_a_warm_standby_takes_over_from_a_leader(stage: Stage, redis_client: redis.Redis, how: str) -> None:
    with stage.proxy() as of_one, stage.proxy() as of_two, stage.operator("one", of_one, USUAL_LEASE) as one:
        jobs = stage.queue("jobs")
        publish(redis_client, jobs, 3)
        stage.until_replicas("jobs", 3)
        with stage.operator("two", of_two, USUAL_LEASE):
            until(lambda: stage.condition("jobs", "Progressing").get("reason") == "ScalingUp", "all is told")
            everything = lambda: (stage.versions("jobs"), len(of_one.writes))  # noqa: E731
            quiet(everything, "nothing follows the last status", 2.5)
            assert of_two.writes == [], "a standby wrote"
            before = stage.versions("jobs")
            gone_at = time.monotonic()
            one.stop(kill=how == "killed")
            until(lambda: stage.leader() == "two", "the standby leads")
            took = time.monotonic() - gone_at
            print(f"{how}: the next one led after {took:.1f} s", file=sys.stderr)
            quiet(lambda: len(of_two.writes), "what it would write on top of that is written", 3)
            assert stage.versions("jobs") == before
            assert of_two.writes == [], "it wrote what was there already"
            publish(redis_client, jobs, 1)
            stage.until_replicas("jobs", 4)
        assert (scales(of_one), scales(of_two)) == ([3], [4])
        assert repeated(of_one) == repeated(of_two) == []


@pytest.mark.parametrize("what", ["kube-apiserver", "etcd"])
def test_an_outage_of_the_api_is_waited_out(stage: Stage, redis_client: redis.Redis, what: str) -> None:
    server = stage.cluster.server
    with stage.operator("one", restarts=True) as operator:
        jobs = stage.queue("jobs")
        server.kill(what)
        publish(redis_client, jobs, 5)
        time.sleep(OUTAGE_SECONDS)
        assert operator.answer("/livez") in (0, 200), "kubelet would restart it for nothing"
        back_at = time.monotonic()
        server.start_again(what)
        stage.until_replicas("jobs", 5)
        took = time.monotonic() - back_at
        print(
            f"{what}: caught up {took:.1f} s after its start; operator starts: {operator.starts}",
            file=sys.stderr,
        )
        until(lambda: stage.condition("jobs", "Ready").get("status") == "True", "it is Ready")
        deployment = stage.cluster.get("deployment", "jobs-worker", stage.name)
        assert deployment is not None
        # 0 at its creation, then the one write.
        assert deployment["metadata"]["generation"] == 2


def test_what_was_deleted_while_the_watches_were_broken_is_noticed(
    stage: Stage, redis_client: redis.Redis
) -> None:
    with stage.proxy() as proxy, stage.operator("one", proxy) as operator:
        stage.queue("gone")
        jobs = stage.queue("jobs")
        until(lambda: proxy.watches >= 4, "its watches")
        proxy.watches_expired = True
        proxy.cut_watches()
        stage.delete("gone")
        stage.cluster.run("delete", "deployment", "gone-worker", "-n", stage.name)
        time.sleep(1)
        proxy.watches_expired = False
        until(lambda: 'name="gone"' not in operator.read("/metrics"), "it is forgotten")
        publish(redis_client, jobs, 1)
        stage.until_replicas("jobs", 1)
        assert stage.cluster.get("deployment", "gone-worker", stage.name) is None
        assert repeated(proxy) == []
        assert operator.starts == 1
        assert not operator.ended


@pytest.mark.parametrize("refusal", [TOO_MANY, CONFLICT], ids=["429", "409"])
def test_a_storm_of_refusals_is_not_answered_with_a_storm_of_writes(
    stage: Stage, redis_client: redis.Redis, refusal: Refusal
) -> None:
    names = [f"q{number}" for number in range(3)]
    with stage.proxy() as proxy, stage.operator("one", proxy):
        queues = [stage.queue(name) for name in names]
        writes = itertools.count(1)

        def three_of_four(method: str, path: str) -> Refusal | None:
            counts = method != "GET" and "/leases" not in path
            return refusal if counts and next(writes) % 4 else None

        proxy.rule = three_of_four
        for keys in queues:
            publish(redis_client, keys, 4)
        for name in names:
            stage.until_replicas(name, 4)
        for name in names:
            until(lambda name=name: stage.decided(name) == 4, f"{name}'s status")
        print(f"{refusal.status}: {proxy.refused} refused, {len(proxy.writes)} writes", file=sys.stderr)
        assert sorted(scales(proxy)) == [4] * len(names)
        assert repeated(proxy) == []
        assert proxy.refused < 40 * len(names)


def test_a_mark_of_somebody_between_reading_and_writing_costs_no_second_look(stage: Stage) -> None:
    with stage.proxy() as proxy, stage.operator("one", proxy) as operator:
        raced: list[str] = []

        def race(method: str, path: str) -> None:
            if method == "PATCH" and "/redisqueues/" in path and path not in raced:
                raced.append(path)
                stage.cluster.run("annotate", "rq", "jobs", "-n", stage.name, f"mark-{len(raced)}=x")

        proxy.rule = race
        stage.queue("jobs", deletionPolicy="Drain")
        until(lambda: stage.condition("jobs", "Ready").get("status") == "True", "all is told")
        assert [path.rpartition("/")[2] for path in raced] == ["jobs", "status"]
        for path in raced:
            answers = [write.status for write in proxy.writes if write.path == path]
            assert answers[:2] == [409, 200]
        assert 'reconciles_total{outcome="conflict"} 0.0' in operator.read("/metrics")
        stage.delete("jobs")  # it waits for its operator


@pytest.mark.parametrize(
    ("what", "kind", "reason"),
    [
        ("deployments/jobs-worker/scale", "ScalingActive", "ScaleConflict"),
        ("deployments/jobs-worker", "Ready", "ApplyConflict"),
        ("redisqueues/jobs/status", "", "StatusConflict"),
    ],
)
def test_a_conflict_without_end_is_told_and_hides_nothing(
    stage: Stage, redis_client: redis.Redis, what: str, kind: str, reason: str
) -> None:
    with stage.proxy() as proxy, stage.operator("one", proxy) as operator:
        jobs = stage.queue("jobs")
        until(lambda: stage.condition("jobs", "Ready").get("status") == "True", "all is well")
        proxy.rule = lambda method, path: CONFLICT if method == "PATCH" and path.endswith(what) else None
        worker = {"handler": "tasks:handle", "image": "example.org/mine:2"}
        stage.queue("jobs", **({"worker": worker} if reason == "ApplyConflict" else {}))
        publish(redis_client, jobs, 3)
        note = until(lambda: stage.cluster.events("jobs", stage.name).get(reason), "an Event")
        assert "Conflict by the proxy" in note
        if kind:
            said = until(
                lambda: (found := stage.condition("jobs", kind))["reason"] == reason and found, "it is told"
            )
            assert (said["status"], "Conflict by the proxy" in said["message"]) == ("False", True)
            operator.explains("jobs", reason, stage.name)
            until(lambda: stage.cluster.pending("jobs", stage.name) == 3, "the counters go on")
        if reason != "ScaleConflict":
            stage.until_replicas("jobs", 3)
        proxy.rule = lambda _method, _path: None
        stage.until_replicas("jobs", 3)
        until(lambda: stage.decided("jobs") == 3, "all is told")
        until(lambda: stage.condition("jobs", "Ready").get("reason") == "Applied", "and is well")


def test_a_server_that_refuses_everything_hears_little(stage: Stage, redis_client: redis.Redis) -> None:
    with stage.proxy() as proxy, stage.operator("one", proxy):
        jobs = stage.queue("jobs")
        proxy.rule = lambda method, path: CONFLICT if method != "GET" and "/leases" not in path else None
        publish(redis_client, jobs, 1)
        began_at = time.monotonic()
        until(lambda: proxy.refused, "the first refusal")
        time.sleep(OUTAGE_SECONDS)
        refused, lasted = proxy.refused, time.monotonic() - began_at
        print(f"refused in {lasted:.1f} s: {refused}", file=sys.stderr)
        assert refused < 10 + 3 * lasted
        proxy.rule = lambda _method, _path: None
        stage.until_replicas("jobs", 1)


# Patches of a process: its version, and a wall clock that is off.
NEWER = "import redisqueue_operator.main as main_module; main_module.version = lambda _: '99.0.0'"
# The newer one is at work: that it takes a while to answer does not mean that it is gone.
PATIENT = "import redisqueue_operator.decide.version_skew as precedence; precedence.ANSWER_SECONDS = 60.0"
OFF_BY = """
import time, datetime
real, real_datetime, off = time.time, datetime.datetime, {seconds}
time.time = lambda: real() + off
class Shifted(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.fromtimestamp(time.time(), tz)
datetime.datetime = Shifted
"""


@pytest.mark.parametrize("first", ["newer", "older"])
def test_an_older_operator_beside_a_newer_one_yields(
    stage: Stage, redis_client: redis.Redis, first: str
) -> None:
    with contextlib.ExitStack() as stack:
        of_newer, of_older = stack.enter_context(stage.proxy()), stack.enter_context(stage.proxy())
        newer = stage.operator("newer", of_newer, "--lease-name=newer", before=NEWER)
        older = stage.operator("older", of_older, "--lease-name=older", before=PATIENT)
        stack.enter_context(newer if first == "newer" else older)
        jobs = stage.queue("jobs")
        made_by_older = len(of_older.writes)
        stack.enter_context(older if first == "newer" else newer)
        until(lambda: told_newer(of_older), "the older one says that it is older")
        until(
            lambda: stage.condition("jobs", "Ready").get("reason") == "Applied", "the newer one corrects it"
        )
        quiet(lambda: (len(of_older.writes), len(of_newer.writes)), "there is no fight", 4)
        publish(redis_client, jobs, 3)
        stage.until_replicas("jobs", 3)
        assert (scales(of_newer), scales(of_older)) == ([3], [])
        written = {write.path.rpartition("/")[2] for write in of_older.writes[made_by_older:]}
        assert written <= {"status", "events"}


def told_newer(proxy: ApiProxy) -> bool:
    conditions = [
        each
        for write in proxy.written("/status")
        for each in write.body["status"].get("conditions") or ()
        if each["type"] == "Ready"
    ]
    return any(each["reason"] == "NewerOperator" for each in conditions)


def test_an_older_operator_alone_scales_on_and_says_what_it_cannot_do(
    stage: Stage, redis_client: redis.Redis
) -> None:
    with stage.operator("newer", before=NEWER):
        jobs = stage.queue("jobs")
    with stage.proxy() as proxy, stage.operator("older", proxy):
        until(lambda: stage.condition("jobs", "Ready").get("reason") == "NewerOperator", "it says so")
        publish(redis_client, jobs, 3)
        stage.until_replicas("jobs", 3)
        assert {write.path.rpartition("/")[2] for write in proxy.writes} <= {"status", "scale", "events"}


def test_an_older_operator_names_the_way_out_and_it_is_one(stage: Stage) -> None:
    """After a rollback there is no newer operator that could be upgraded to."""

    def author() -> str:
        deployment = stage.cluster.metadata("deployment", "jobs-worker", stage.name)
        return str(deployment["annotations"].get("redisqueue.dev/operator-version"))

    with stage.operator("newer", before=NEWER):
        stage.queue("jobs")
    assert author() == "99.0.0"
    with stage.operator("older"):
        until(lambda: stage.condition("jobs", "Ready").get("reason") == "NewerOperator", "it says so")
        told = stage.condition("jobs", "Ready")["message"]
        ours = version("redis-queue-operator")
        assert f"written by operator 99.0.0, this one is {ours}" in told
        _, _, command = told.partition("kubectl ")
        stage.cluster.run(*command.split())
        until(
            lambda: stage.condition("jobs", "Ready").get("reason") == "Applied", "it writes its own template"
        )
        assert author() == ours


@pytest.mark.parametrize("hours", [-7, 7] if LONG else [7])
def test_a_wrong_clock_of_the_operators_machine_changes_nothing(
    stage: Stage, redis_client: redis.Redis, hours: int
) -> None:
    with stage.operator("one", before=OFF_BY.format(seconds=hours * 3600)):
        jobs = stage.queue("jobs", deletionPolicy="Drain")
        publish(redis_client, jobs, 2)
        stage.until_replicas("jobs", 2)
        lease = stage.cluster.get("lease", "redisqueue-operator", stage.name)
        assert lease is not None
        off = abs(datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp() - time.time())
        assert off > 3600, "the clock is right"
        with stage.operator("two", None, USUAL_LEASE):
            time.sleep(SEVERAL_TRIES_SECONDS)
            assert stage.leader() == "one", "a leader that renews was replaced"
        stage.cluster.run("delete", "rq", "jobs", "-n", stage.name, "--wait=false")
        until(
            lambda: stage.condition("jobs", "Ready").get("reason") == "Deleting", "its queue is emptied first"
        )
        time.sleep(2)
        assert stage.cluster.get("rq", "jobs", stage.name) is not None, "its deadline passed at once"
        redis_client.delete(jobs.pending)
        until(lambda: stage.cluster.get("rq", "jobs", stage.name) is None, "it is gone")
