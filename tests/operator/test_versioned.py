"""A new template on trial, on a real API server: which Deployment gets it, and what the owner is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.waiting import quiet

from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

GATE = {"minMessages": 10, "maxFailurePercent": 20, "maxDeadLetters": 0}
ROLLOUT = {"strategy": "Versioned", "canaryPercent": 25, "holdSeconds": 1, "gate": GATE}


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer) -> Cluster:
    cluster = Cluster(api_server)
    cluster.install()
    return cluster


@pytest.fixture
def operator(cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(cluster.server, tmp_path / "log", "--worker-image=example.org/worker:1") as process:
        yield process


class Trial:
    """A RedisQueue with 4 workers' worth of messages, whose pods and workers the test plays."""

    def __init__(self, cluster: Cluster, client: redis.Redis, redis_url: str, name: str) -> None:
        self.cluster = cluster
        self.client = client
        self.redis_url = redis_url
        self.name = name
        self.scaling: dict[str, Any] = {"minReplicas": 4, "maxReplicas": 8, "backlogPerSlot": 1000}

    def apply(self, image: str, **rollout: Any) -> None:
        spec = {
            "redis": {"url": self.redis_url},
            "worker": {"handler": "app:handle", "image": f"example.org/worker:{image}"},
            "scaling": self.scaling,
            "rollout": {**ROLLOUT, **rollout},
        }
        metadata = {"name": self.name, "namespace": "default"}
        self.cluster.apply(
            {
                "apiVersion": "redisqueue.dev/v1alpha1",
                "kind": "RedisQueue",
                "metadata": metadata,
                "spec": spec,
            }
        )

    def image(self, kind: str = "worker") -> str:
        """The tag of the image in a Deployment; empty without one."""
        deployment = self.cluster.get("deployment", f"{self.name}-{kind}")
        if deployment is None:
            return ""
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]).rpartition(":")[2]

    def edit(self, image: str) -> None:
        """As somebody would who does not know whose Deployment it is."""
        self.cluster.run(
            "set", "image", f"deployment/{self.name}-worker", f"worker=example.org/worker:{image}"
        )

    def versions(self) -> list[str]:
        """Of what the workers keep their template by."""
        named = (("deployment", f"{self.name}-worker"), ("configmap", f"{self.name}-stable"))
        return [str(self.cluster.metadata(kind, name)["resourceVersion"]) for kind, name in named]

    def replicas(self, kind: str = "worker") -> int | None:
        deployment = self.cluster.get("deployment", f"{self.name}-{kind}")
        return None if deployment is None else int(deployment["spec"]["replicas"])

    def rollout(self) -> dict[str, Any]:
        return self.cluster.status(self.name).get("rollout") or {}

    def start_canary(self) -> str:
        """Run version 1, ask for version 2, and wait for its canary; its hash."""
        self.apply("1")
        until(lambda: self.replicas() == 4, "four workers")
        self.apply("2")
        until(lambda: self.replicas("canary") == 1, "a canary")
        until(lambda: self.rollout().get("phase") == "Canary", "told in status")
        until(lambda: "base" in self.rollout(), "counted from now on", seconds=60)
        return str(self.rollout()["hash"])

    def handle(self, config_hash: str, *, done: int = 0, failed: int = 0) -> None:
        """As workers of that version would."""
        keys = QueueKeys(self.name)
        publish(self.client, keys, *(f"{config_hash} {number}" for number in range(done + failed)))
        consumer = Consumer(
            self.client, self.name, worker=WorkerIdentity("elsewhere", 100, config_hash=config_hash)
        )
        claims = consumer.claim(done + failed).claims
        consumer.settle([Settlement(claim, Outcome.DONE) for claim in claims[:done]])
        consumer.settle([Settlement(claim, Outcome.FAILED, failed=True) for claim in claims[done:]])

    def have_ready_pod(self) -> None:
        """As the canary's ReplicaSet and a kubelet would."""
        template = self.cluster.get("deployment", f"{self.name}-canary")
        assert template is not None
        labels = template["spec"]["template"]["metadata"]["labels"]
        metadata = {"name": f"{self.name}-canary-0", "namespace": "default", "labels": labels}
        account = {"name": "default", "namespace": "default"}
        self.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        containers = [{"name": "worker", "image": "example.org/worker:2"}]
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
        )
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        self.patch_status("pod", metadata["name"], ready)

    def have_rolled(self) -> None:
        """As the Deployment's controller would say once all workers have the template."""
        deployment = self.cluster.get("deployment", f"{self.name}-worker")
        assert deployment is not None
        names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = dict.fromkeys(names, deployment["spec"]["replicas"])
        status["observedGeneration"] = deployment["metadata"]["generation"]
        self.patch_status("deployment", f"{self.name}-worker", status)

    def patch_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        patch = json.dumps({"status": status})
        self.cluster.run("patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)


@pytest.fixture
def trial(
    cluster: Cluster, redis_client: redis.Redis, redis_url: str, request: pytest.FixtureRequest
) -> Iterator[Trial]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:30].strip("-")
    yield Trial(cluster, redis_client, redis_url, name)
    cluster.run("delete", "rq", name, "--ignore-not-found")
    cluster.run("delete", "deployments,pods", "-l", f"redisqueue.dev/queue={name}", "--force")


def test_rolling_knows_no_canary(trial: Trial, operator: OperatorProcess) -> None:
    trial.apply("1", strategy="Rolling")
    until(lambda: trial.replicas() == 4, "four workers")
    trial.apply("2", strategy="Rolling")
    until(lambda: trial.image() == "2", "the new template")
    assert trial.image("canary") == ""
    assert trial.rollout() == {}


def test_a_share_gets_the_new_template(trial: Trial, operator: OperatorProcess) -> None:
    new = trial.start_canary()
    assert (trial.image("canary"), trial.image()) == ("2", "1")
    canary = trial.cluster.get("deployment", f"{trial.name}-canary")
    assert canary is not None
    template = canary["spec"]["template"]["metadata"]
    assert template["labels"]["redisqueue.dev/queue"] == trial.name
    assert template["annotations"]["redisqueue.dev/config-hash"] == new
    condition = trial.cluster.condition(trial.name, "Progressing")
    assert (condition["status"], condition["reason"]) == ("True", "Canary")
    assert trial.cluster.status(trial.name)["state"] == "Canary"
    told = (
        f"Rollout of template {new}: Canary, NotReady: no worker of the new version is ready (new: 0 handled"
    )
    operator.explains(trial.name, told)


def test_failures_roll_it_back(trial: Trial, operator: OperatorProcess) -> None:
    refused = trial.start_canary()
    trial.handle(refused, done=1, failed=3)
    until(lambda: trial.image("canary") == "", "the canary is deleted")
    told = trial.rollout()
    assert (told["phase"], told["hash"], told["reason"]) == ("RolledBack", refused, "Failures")
    assert (told["successes"], told["failures"]) == (1, 3)
    assert trial.image() == "1"
    described = lambda: trial.cluster.run("describe", "rq", trial.name)  # noqa: E731
    until(lambda: "RolledBack" in described().partition("Events:")[2], "an Event tells of it")
    trial.apply("2", holdSeconds=2)  # another spec, the same template
    until(
        lambda: trial.cluster.status(trial.name)["observedGeneration"] == 3, "the third generation was seen"
    )
    assert trial.image("canary") == ""
    trial.apply("3")
    until(lambda: trial.image("canary") == "3", "another template is tried")


def test_a_good_one_reaches_all(trial: Trial, operator: OperatorProcess) -> None:
    new = trial.start_canary()
    trial.have_ready_pod()
    trial.handle(new, done=12)
    until(lambda: trial.image() == "2", "promoted")
    assert trial.image("canary") == "2", "it works on until all have it"
    until(lambda: trial.replicas() == 4, "the canary's place is taken before it leaves")
    trial.have_rolled()
    until(lambda: trial.image("canary") == "", "the canary is deleted")
    until(lambda: trial.rollout().get("phase") == "Promoted", "told")
    assert trial.rollout()["successes"] == 12


def test_a_spec_that_is_taken_back_ends_the_trial(trial: Trial, operator: OperatorProcess) -> None:
    trial.start_canary()
    trial.apply("1")
    until(lambda: trial.image("canary") == "", "the canary is deleted")
    until(lambda: trial.rollout() == {}, "nothing to tell of")
    assert trial.image() == "1"


def test_a_restart_in_the_middle_changes_nothing(trial: Trial, cluster: Cluster, tmp_path: Path) -> None:
    image = "--worker-image=example.org/worker:1"
    with OperatorProcess(cluster.server, tmp_path / "first", image):
        new = trial.start_canary()
        trial.handle(new, done=4, failed=1)
        before = trial.rollout()
    with OperatorProcess(cluster.server, tmp_path / "second", image) as second:
        trial.handle(new, failed=2)
        until(lambda: trial.image("canary") == "", "the canary is deleted")
        second.stop()
    with OperatorProcess(cluster.server, tmp_path / "third", image):
        said = lambda: trial.cluster.condition(trial.name, "Stalled")  # noqa: E731
        until(lambda: said().get("reason") == "RolledBack", "looked at")
        assert trial.cluster.condition(trial.name, "Ready").get("status") == "False"
        after = trial.rollout()
        assert (after["phase"], after["hash"], after["failures"]) == ("RolledBack", new, 3)
        assert after["base"] == before["base"]
        assert trial.image("canary") == "", "what was refused is not tried again"
        assert trial.image() == "1"


def test_a_foreign_canary_is_left_alone(trial: Trial, operator: OperatorProcess) -> None:
    name = f"{trial.name}-canary"
    trial.apply("1")
    until(lambda: trial.replicas() == 4, "four workers")
    trial.cluster.run("create", "deployment", name, "--image=example.org/other:9")
    trial.apply("2")
    until(lambda: trial.cluster.condition(trial.name, "Ready").get("reason") == "NameConflict", "a verdict")
    assert (trial.image("canary"), trial.image()) == ("9", "1")
    trial.cluster.run("delete", "deployment", name)
    until(lambda: trial.image("canary") == "2", "a canary of our own", seconds=60)


def test_nobody_waits_for_a_canary_that_may_never_start(
    trial: Trial, operator: OperatorProcess, redis_client: redis.Redis
) -> None:
    """From zero the first worker has the old template, and its canary is beside it."""
    trial.scaling = {"minReplicas": 0, "maxReplicas": 8, "scaleDown": {"idleSeconds": 0}}
    trial.apply("1")
    until(lambda: trial.replicas() == 0, "an idle queue")
    until(lambda: trial.cluster.condition(trial.name, "RedisReachable").get("status") == "True", "sampled")
    trial.apply("2")
    until(lambda: trial.rollout().get("phase") == "Canary", "told in status")
    until(lambda: trial.replicas("canary") is not None, "which is told before it is made")
    assert (trial.replicas(), trial.replicas("canary")) == (0, 0), "without work no canary is started"
    publish(redis_client, QueueKeys(trial.name), "one")
    until(lambda: (trial.replicas(), trial.replicas("canary")) == (1, 1), "one of each")


def test_what_others_change_is_mended_in_a_trial_and_after_it(
    trial: Trial, operator: OperatorProcess
) -> None:
    refused = trial.start_canary()
    trial.edit("edited")
    until(lambda: trial.image() == "1", "mended while on trial")
    assert trial.image("canary") == "2"
    trial.apply("2", holdSeconds=2)
    trial.handle(refused, failed=4)
    until(lambda: trial.image("canary") == "", "rolled back")
    trial.edit("edited-again")
    until(lambda: trial.image() == "1", "mended while it stays rolled back")
    orphan = json.dumps({"spec": {"deletionPolicy": "Orphan"}})
    trial.cluster.run("patch", "rq", trial.name, "--type=merge", "-p", orphan)
    until(
        lambda: not trial.cluster.metadata("deployment", f"{trial.name}-worker").get("ownerReferences"),
        "what the object says now",
    )
    assert trial.image() == "1"


def test_workers_deleted_in_a_trial_come_back_as_they_were(trial: Trial, operator: OperatorProcess) -> None:
    trial.start_canary()
    trial.cluster.run("delete", "deployment", f"{trial.name}-worker")
    until(lambda: trial.image() == "1", "the old template")
    until(lambda: (trial.replicas() or 0) + (trial.replicas("canary") or 0) >= 4, "as many as before")
    assert trial.image("canary") == "2"


def test_a_refused_template_reaches_nobody_after_a_restart(
    trial: Trial, cluster: Cluster, tmp_path: Path
) -> None:
    image = "--worker-image=example.org/worker:1"
    with OperatorProcess(cluster.server, tmp_path / "first", image):
        trial.handle(trial.start_canary(), failed=4)
        until(lambda: trial.rollout().get("phase") == "RolledBack", "told")
    trial.cluster.run("delete", "deployment", f"{trial.name}-worker")
    with OperatorProcess(cluster.server, tmp_path / "second", image):
        until(lambda: trial.replicas() == 4, "as many as before")
        assert trial.image() == "1"
        until(lambda: trial.image("canary") == "", "no canary")
        quiet(trial.versions, "all is written", 2)
        before = trial.versions()
    with OperatorProcess(cluster.server, tmp_path / "third", image) as third:
        third.explains(trial.name, "stays at 4")
    assert trial.versions() == before, "all was as it should be"


def test_no_trial_where_somebody_else_chooses_the_number(trial: Trial, operator: OperatorProcess) -> None:
    trial.apply("1")
    until(lambda: trial.replicas() == 4, "four workers")
    trial.scaling = {**trial.scaling, "mode": "Paused"}
    trial.apply("2")
    until(lambda: trial.rollout().get("phase") == "Waiting", "told")
    assert "spec.replicas" in trial.rollout()["message"]
    assert (trial.image(), trial.image("canary"), trial.replicas()) == ("1", "", 4)
    trial.scaling = {**trial.scaling, "mode": "Auto"}
    trial.apply("2")
    until(lambda: (trial.image("canary"), trial.replicas("canary")) == ("2", 1), "tried now")
