"""The operator process on a real API server and a real Valkey: what it writes, and when it writes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.waiting import quiet

from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from tests.support.api_server import ApiServer


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


@pytest.fixture(scope="module")
def operator(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One operator for the tests that only need it to be there."""
    log = tmp_path_factory.mktemp("operator") / "log"
    with OperatorProcess(cluster.server, log, "--worker-image=example.org/worker:1") as process:
        yield process


def redisqueue(name: str, redis_url: str, **spec: Any) -> dict[str, Any]:
    """A RedisQueue that goes to sleep as soon as it may."""
    down = {"idleSeconds": 0, "stabilizationSeconds": 0, "minRunSeconds": 0}
    merged = {
        "redis": {"url": redis_url},
        "worker": {"handler": "app:handle"},
        "scaling": {"maxReplicas": 10, "backlogPerSlot": 5, "scaleDown": down},
        **spec,
    }
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": name, "namespace": "default"},
        "spec": merged,
    }


def test_workers_come_with_the_messages_and_go_with_them(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(redisqueue("first", redis_url))
    until(lambda: cluster.replicas("first") == 0, "a Deployment with 0 replicas")
    until(lambda: cluster.condition("first", "RedisReachable").get("status") == "True", "Redis is sampled")

    publish(redis_client, QueueKeys("first"), *(str(n) for n in range(23)))
    until(lambda: cluster.replicas("first") == 5, "ceil(23 / 5) workers")

    redis_client.delete(QueueKeys("first").pending)
    until(lambda: cluster.replicas("first") == 0, "no workers without messages")
    until(lambda: cluster.condition("first", "Ready").get("status") == "True", "and all is well")
    cluster.run("delete", "rq", "first")


def test_from_nothing_to_all_workers_in_one_write(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(redisqueue("burst", redis_url))
    until(lambda: cluster.condition("burst", "RedisReachable").get("status") == "True", "Redis is sampled")
    redis_client.lpush(QueueKeys("burst").pending, *(f"message {n}" for n in range(50)))
    until(lambda: cluster.replicas("burst"), "workers")
    assert cluster.replicas("burst") == 10

    counted = "(50 pending + 0 due + 0 in flight) / (5 per slot * 1 slots)"
    operator.explains("burst", f"BacklogPerSlot asks for 10: {counted}")

    decision = until(lambda: cluster.decision("burst"), "the decision in status")
    assert (decision["from"], decision["to"]) == (0, 10)
    cluster.run("delete", "rq", "burst")


def test_an_idle_fleet_costs_no_write(cluster: Cluster, operator: OperatorProcess, redis_url: str) -> None:
    names = [f"idle-{n}" for n in range(5)]
    cluster.apply(*(redisqueue(name, redis_url) for name in names))
    for name in names:
        until(lambda name=name: cluster.status(name).get("state") == "Idle", f"{name} is idle")
    quiet(cluster.writes, "no write", 4)
    cluster.run("delete", "rq", *names)


def test_a_changed_template_is_applied_and_the_number_of_workers_stays(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    rq = redisqueue("edited", redis_url)
    rq["spec"]["worker"]["env"] = [{"name": "COLOUR", "value": "blue"}]
    cluster.apply(rq)
    until(lambda: cluster.replicas("edited") == 0, "a Deployment")
    assert "COLOUR" in cluster.environment("edited")

    rq["spec"]["worker"]["image"] = "example.org/worker:3"
    cluster.apply(rq)  # when nobody has set their number yet
    until(lambda: cluster.container("edited")["image"] == "example.org/worker:3", "the newer image")
    assert owners_of_replicas(cluster, "edited-worker") == {"redisqueue-operator-scale"}
    publish(redis_client, QueueKeys("edited"), *(str(n) for n in range(15)))
    until(lambda: cluster.replicas("edited") == 3, "3 workers")

    rq["spec"]["worker"] |= {"env": [], "concurrency": 1, "image": "example.org/worker:2"}
    cluster.apply(rq)
    until(lambda: cluster.container("edited")["image"] == "example.org/worker:2", "the new image")
    assert "COLOUR" not in cluster.environment("edited")
    assert cluster.replicas("edited") == 3
    cluster.run("delete", "rq", "edited")


def owners_of_replicas(cluster: Cluster, name: str) -> set[str]:
    """Who has set a Deployment's number of replicas, as the API server has noted it."""
    found = json.loads(cluster.run("get", "deployment", name, "--show-managed-fields", "-o", "json"))
    managed = found["metadata"]["managedFields"]
    return {each["manager"] for each in managed if "f:replicas" in each["fieldsV1"].get("f:spec", {})}


def test_what_somebody_else_breaks_is_mended(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    cluster.apply(redisqueue("mended", redis_url))
    until(lambda: cluster.replicas("mended") == 0, "a Deployment")
    cluster.run("set", "image", "deployment/mended-worker", "worker=example.org/wrong:1")
    until(lambda: cluster.container("mended")["image"] == "example.org/worker:1", "our image again")

    cluster.run("delete", "deployment", "mended-worker")
    until(lambda: cluster.replicas("mended") == 0, "a new Deployment")
    cluster.run("delete", "rq", "mended")


def test_a_foreign_deployment_is_left_alone(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    cluster.run("create", "deployment", "taken-worker", "--image=example.org/other:1", "--replicas=2")
    cluster.apply(redisqueue("taken", redis_url))
    ready = until(lambda: cluster.condition("taken", "Ready"), "a verdict")
    assert (ready["status"], ready["reason"]) == ("False", "NameConflict")
    assert cluster.replicas("taken") == 2
    assert cluster.get("deployment", "taken-worker")["metadata"].get("ownerReferences") is None
    cluster.run("delete", "rq/taken", "deployment/taken-worker")


def test_a_template_that_the_server_refuses_is_told(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    rq = redisqueue("misspelt", redis_url)
    rq["spec"]["worker"]["template"] = {"spec": {"terminationGracePeriodSecond": 5}}
    cluster.apply(rq)
    ready = until(lambda: cluster.condition("misspelt", "Ready"), "a verdict")
    assert (ready["status"], ready["reason"]) == ("False", "ApplyRefused")
    assert "terminationGracePeriodSecond" in ready["message"]

    del rq["spec"]["worker"]["template"]
    cluster.apply(rq)
    until(
        lambda: cluster.condition("misspelt", "Ready").get("status") == "True",
        "well again after the correction",
    )
    cluster.run("delete", "rq", "misspelt")


def test_credentials_come_from_a_secret_and_follow_it(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    redis_client.acl_setuser("alice", enabled=True, passwords=["+first"], keys=["*"], commands=["+@all"])
    rq = redisqueue("guarded", redis_url)
    rq["spec"]["redis"]["auth"] = {
        "secretRef": {"name": "login", "usernameKey": "username", "passwordKey": "password"}
    }
    cluster.apply(rq)
    missing = until(lambda: cluster.condition("guarded", "RedisReachable"), "a verdict")
    assert (missing["status"], missing["reason"]) == ("False", "SecretMissing")

    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}}
    cluster.apply({**secret, "stringData": {"username": "alice", "password": "first"}})
    until(lambda: cluster.condition("guarded", "RedisReachable").get("status") == "True", "connected")
    publish(redis_client, QueueKeys("guarded"), "one")
    until(lambda: cluster.replicas("guarded") == 1, "a worker")

    redis_client.acl_setuser("alice", enabled=True, passwords=["-first", "+second"])
    redis_client.client_kill_filter(user="alice", skipme=False)
    until(
        lambda: cluster.condition("guarded", "RedisReachable").get("reason") == "AuthenticationFailed",
        "refused",
    )
    assert cluster.replicas("guarded") == 1
    cluster.apply({**secret, "stringData": {"username": "alice", "password": "second"}})
    until(lambda: cluster.condition("guarded", "RedisReachable").get("status") == "True", "again")
    log = operator.log.read_text()
    assert "first" not in [word for line in log.splitlines() for word in line.split("'")]
    cluster.run("delete", "rq/guarded", "secret/login")
    redis_client.acl_deluser("alice")


def test_a_decision_is_told_as_an_event(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(redisqueue("told", redis_url))
    until(lambda: cluster.condition("told", "RedisReachable").get("status") == "True", "Redis is sampled")
    publish(redis_client, QueueKeys("told"), "one")
    until(lambda: "Scaled" in cluster.events("told"), "a scaling event")
    assert "Scaled" in cluster.run("describe", "rq", "told").partition("Events:")[2]
    cluster.run("delete", "rq", "told")


def test_metrics_and_probes_answer(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(redisqueue("measured", redis_url))
    publish(redis_client, QueueKeys("measured"), "one")
    until(lambda: cluster.replicas("measured") == 1, "a worker")
    series = 'redisqueue_queue_pending{name="measured",namespace="default"} 1.0'
    operator.shows(series)
    operator.shows("redisqueue_operator_leader 1.0")
    uncounted = ("redisqueue_operator_redis_endpoints 0.0", "redisqueue_operator_reaction_seconds_count 0.0")
    until(lambda: not any(each in operator.read("/metrics") for each in uncounted), "it is counted")
    assert "_created" not in operator.read("/metrics")
    assert (operator.answer("/livez"), operator.answer("/readyz")) == (200, 200)
    cluster.run("delete", "rq", "measured")
    until(lambda: 'name="measured"' not in operator.read("/metrics"), "its series are gone with it")


def test_a_new_object_of_an_old_name_waits_for_the_old_children(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    cluster.apply(redisqueue("again", redis_url))
    until(lambda: cluster.replicas("again") == 0, "a Deployment")
    cluster.run("delete", "rq", "again")  # no garbage collector runs here: the Deployment stays
    cluster.apply(redisqueue("again", redis_url))
    until(lambda: cluster.condition("again", "Ready").get("reason") == "NameConflict", "not taken over")
    cluster.run("delete", "deployment", "again-worker")
    until(lambda: cluster.condition("again", "Ready").get("status") == "True", "its own Deployment")
    deployment, rq = cluster.get("deployment", "again-worker"), cluster.get("rq", "again")
    assert deployment is not None
    assert rq is not None
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == rq["metadata"]["uid"]
    cluster.run("delete", "rq", "again")


def test_drain_holds_the_object_until_its_queue_is_empty(
    cluster: Cluster, operator: OperatorProcess, redis_url: str, redis_client: redis.Redis
) -> None:
    cluster.apply(redisqueue("emptied", redis_url, deletionPolicy="Drain"))
    until(lambda: cluster.condition("emptied", "RedisReachable").get("status") == "True", "Redis is sampled")
    publish(redis_client, QueueKeys("emptied"), "one", "two")
    cluster.run("delete", "rq", "emptied", "--wait=false")
    until(lambda: cluster.condition("emptied", "Ready").get("reason") == "Deleting", "the reason in status")
    until(lambda: cluster.replicas("emptied") == 1, "a worker for what is left")

    redis_client.delete(QueueKeys("emptied").pending)  # as if it had handled them
    until(lambda: cluster.get("rq", "emptied") is None, "the RedisQueue is gone")


def test_what_orphan_left_behind_is_taken_over_by_the_next_of_its_name(
    cluster: Cluster, operator: OperatorProcess, redis_url: str
) -> None:
    orphan = redisqueue("kept", redis_url, deletionPolicy="Orphan", replicas=2)
    cluster.apply(orphan)
    until(lambda: cluster.replicas("kept") == 2, "two workers")
    left = cluster.metadata("deployment", "kept-worker")
    assert "ownerReferences" not in left
    cluster.run("delete", "rq", "kept")

    cluster.apply(redisqueue("kept", redis_url, replicas=2))
    until(lambda: cluster.condition("kept", "Ready").get("status") == "True", "taken over")
    taken = cluster.metadata("deployment", "kept-worker")
    assert (taken["uid"], cluster.replicas("kept")) == (left["uid"], 2)
    assert taken["ownerReferences"][0]["name"] == "kept"
    cluster.run("delete", "rq", "kept")
