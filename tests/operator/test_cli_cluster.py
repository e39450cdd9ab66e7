"""`redisqueue` commands that ask a cluster, on a real API server with the operator beside it.

Logs and the operator's answers go through a kubelet: tests/e2e/test_kubectl.py.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.queues import publish
from tests.support.redisqueue_cases import budget, redis_queue, schedule

from redis_message_queue import RedisMessageQueue
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands.cluster.logs import NEWS, news_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis
    from tests.support.api_server import ApiServer

    Ask = Callable[..., dict[str, Any]]

NAMESPACE = "shell"
FLAGS = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}")
CONTROL = ["name", "namespace", "mode", "replicas", "desired", "ready"]


@pytest.fixture(scope="module")
def cluster(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With a running operator."""
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    with OperatorProcess(api_server, tmp_path_factory.mktemp("operator") / "log", *FLAGS):
        yield cluster
        cluster.run("delete", "rq,rqs,deployment,pdb,pods", "--all", "-n", NAMESPACE, "--wait=false")


@pytest.fixture(autouse=True)
def _kubectl(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.server.kubeconfig))
    monkeypatch.setenv("PATH", f"{cluster.server.folder}:{os.environ['PATH']}")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command prints with --json."""

    def run(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*words, "-n", NAMESPACE, "--json"]) == 0, capsys.readouterr().err
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    return run


def made(
    cluster: Cluster, name: str, redis_url: str, labels: dict[str, str] | None = None, **scaling: Any
) -> None:
    """A RedisQueue that the operator has looked at."""
    queue = redis_queue(name, redis={"url": redis_url}, scaling=scaling)
    queue["metadata"] |= {"namespace": NAMESPACE, "labels": labels or {}}
    cluster.apply(queue)
    until(lambda: cluster.replicas(name, NAMESPACE) is not None, "it has a Deployment")


@pytest.mark.parametrize("mode", ["Auto", "UpOnly"])
def test_pause_and_resume_give_back_the_mode_that_was(
    cluster: Cluster, redis_url: str, ask: Ask, mode: str
) -> None:
    name = f"pause-{mode.lower()}"
    made(cluster, name, redis_url, mode=mode)
    for _ in range(2):  # what is paused twice is resumed once
        paused = ask("pause", f"rq/{name}", "--wait")
        assert [*paused] == CONTROL
        assert (paused["name"], paused["namespace"], paused["mode"]) == (name, NAMESPACE, "Paused")
        assert cluster.condition(name, "Paused", NAMESPACE)["status"] == "True"
    assert ask("resume", f"rq/{name}", "--wait")["mode"] == mode
    assert cluster.condition(name, "Paused", NAMESPACE)["status"] == "False"
    assert "redisqueue.dev/resume-mode" not in (
        cluster.metadata("rq", name, NAMESPACE).get("annotations") or {}
    )


def test_what_another_autoscaler_chooses_is_left_to_it(
    cluster: Cluster, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(cluster, "external", redis_url, mode="External")
    for command, number, said in (
        ("resume", "0", "`redisqueue scale rq/external 1` begins"),
        ("pause", "2", "pause that, too"),
        ("resume", "2", "spec.scaling.mode is External, and the other autoscaler chooses the number"),
    ):
        cluster.run("scale", "rq/external", f"--replicas={number}", "-n", NAMESPACE)
        assert main([command, "external", "-n", NAMESPACE, "--wait"]) == 0
        assert said in capsys.readouterr().out
        kept = cluster.run("get", "rq/external", "-n", NAMESPACE, "-o", "jsonpath={.spec.replicas}")
        assert kept == number, "an autoscaler that finds none there is off"


def test_a_number_is_fixed_and_drained_and_given_back(cluster: Cluster, redis_url: str, ask: Ask) -> None:
    made(cluster, "fixed", redis_url)
    assert ask("scale", "rq/fixed", "3")["replicas"] == 3
    until(lambda: cluster.replicas("fixed", NAMESPACE) == 3, "the Deployment is scaled")
    assert ask("drain", "rq/fixed", "--no-wait")["replicas"] == 0
    drained = ask("scale", "fixed", "0", "--wait")
    assert (drained["replicas"], drained["desired"], drained["ready"]) == (0, 0, 0)
    assert ask("drain", "fixed")["replicas"] == 0, "there is no worker to wait for"
    assert ask("drain", "fixed", "--resume", "--wait")["replicas"] is None
    assert ask("resume", "fixed")["replicas"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scale", "refused", "99"], "spec.replicas must not exceed spec.scaling.maxReplicas"),
        (["pause", "rq/absent"], '"absent" not found'),
        (["logs", "absent"], '"absent" not found'),
        (["scale", "refused", "2", "--wait", "--timeout", "1"], "`redisqueue explain refused` says why"),
        (["logs", "refused", "-f", "--previous"], "leave -f out"),
    ],
)
def test_what_cannot_be_is_told(
    cluster: Cluster, redis_url: str, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    made(cluster, "refused", redis_url)
    assert main([*words, "-n", NAMESPACE]) == 1
    assert said in capsys.readouterr().err


def test_explain_says_what_is_wrong_also_without_the_operator(
    cluster: Cluster, redis_url: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    made(cluster, "lost", "redis://127.0.0.1:1")
    until(
        lambda: cluster.condition("lost", "RedisReachable", NAMESPACE).get("status") == "False",
        "that is seen",
    )
    answer = ask("explain", "rq/lost")
    assert [*answer] == ["name", "namespace", "source", "problem", "lines", "decision", "conditions"]
    assert answer["source"] == "status", "no kubelet leads to the operator"
    assert answer["problem"]
    assert main(["explain", "lost", "-n", NAMESPACE]) == 0
    assert "RedisReachable=False (ConnectionRefused)" in capsys.readouterr().out


def test_who_is_held_by_a_budget_is_told(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(redis_client, QueueKeys("held"), *"abc")
    shared = budget(maxReplicas=1, selector={"matchLabels": {"team": "held"}})
    shared["metadata"] |= {"namespace": NAMESPACE}
    cluster.apply(shared)
    until(lambda: (cluster.get("rqb", "shared", NAMESPACE) or {}).get("status"), "the budget is in force")
    made(cluster, "held", redis_url, labels={"team": "held"}, backlogPerSlot=1)

    def remarked() -> bool:
        assert main(["top", "--once", "rq/held", "-n", NAMESPACE]) == 0
        return "held is held by budget shared: 1 of 3 wanted" in capsys.readouterr().err

    until(remarked, "top tells")
    until(
        lambda: "1 queues want 3 workers and have 1" in ask("explain", "rqb/shared")["lines"], "explain tells"
    )
    answer = ask("explain", "rqb/shared")
    assert (answer["name"], answer["source"]) == ("shared", "status")
    assert {each["type"] for each in answer["conditions"]} >= {"Limited", "Ready"}
    assert main(["explain", "redisqueuebudgets/shared", "-n", NAMESPACE]) == 0
    assert "Limited=True (Scarce)" in capsys.readouterr().out
    cluster.run("delete", "rqb", "shared", "-n", NAMESPACE)


def test_names_of_the_cluster_are_completed(
    cluster: Cluster, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(cluster, "emails", redis_url)
    for words, name in (
        (["explain", "-n", NAMESPACE, "ema"], "emails"),
        (["pause", "--namespace", NAMESPACE, "rq/ema"], "rq/emails"),
        (["peek", f"--namespace={NAMESPACE}", "rq/ema"], "rq/emails"),
        (["explain", "-n", "she"], NAMESPACE),
    ):
        assert main(["__complete", *words]) == 0
        assert capsys.readouterr().out.splitlines() == [f"{name}\t", ":4"], words


def test_news_of_pods_are_what_kubectl_prints_of_them(cluster: Cluster) -> None:
    """Those that `logs -f` reads: before the first container, while it runs, and when it has ended."""
    pod("news", cluster, {})
    began = {"startedAt": "2026-01-31T08:00:00Z"}
    ended = {**began, "finishedAt": "2026-01-31T08:00:01Z", "exitCode": 0, "containerID": ""}
    states = ({}, {"waiting": {"reason": "ContainerCreating"}}, {"running": began}, {"terminated": ended})
    seen = []
    for state in states:
        if state:
            container_is(cluster, "news", state)
        words = ("get", "pods", "--field-selector=metadata.name=news", "-n", NAMESPACE, "--watch", "-o", NEWS)
        command = [cluster.server.folder / "kubectl", "--kubeconfig", cluster.server.kubeconfig, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            seen.append(news_of(watch.stdout.readline().rstrip("\n")))
            watch.terminate()
    assert [begun for _, begun, _ in seen] == ["", "", *["0 2026-01-31T08:00:00Z"] * 2]
    assert [has_ended for _, _, has_ended in seen] == [False, False, False, True]
    assert {name for name, _, _ in seen} == {"news"}


def pod(name: str, cluster: Cluster, labels: dict[str, str]) -> None:
    account = {"name": "default", "namespace": NAMESPACE}
    cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    containers = [{"name": "worker", "image": "i", "env": [{"name": "X", "value": CANARY}]}]
    cluster.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}
    )


def container_is(cluster: Cluster, name: str, state: dict[str, Any], **more: Any) -> None:
    container = {"name": "worker", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    status = {"containerStatuses": [{**container, "state": state, **more}]}
    patch = json.dumps({"status": status})
    words = ("-n", NAMESPACE, "--subresource=status", "--type=merge", f"--patch={patch}")
    cluster.run("patch", "pod", name, *words)


# -- support-bundle --

CANARY = "c4n4ry-s3cr3t-0f-y0urs"
MESSAGE = "to ann@example.com, of a schedule"
"""Where the canary is taken out, it is taken out everywhere: what is in one place alone has its own."""


def test_a_bundle_tells_all_that_helps_and_no_secret(
    cluster: Cluster, redis_url: str, redis_client: redis.Redis, tmp_path: Path, ask: Ask
) -> None:
    """The canary is in the Redis URL, its Secret, a variable, an argument, an annotation, payloads, the last
    words of a container, and what others quote of those."""
    RedisMessageQueue("bundled", client=redis_client).publish(f"payload {CANARY}")
    password_url = redis_url.replace("redis://", f"redis://default:{CANARY}@")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login", "namespace": NAMESPACE}}
    cluster.apply({**secret, "stringData": {"url": password_url, "password": CANARY}})
    queue = redis_queue("bundled", redis={"urlFrom": {"secretKeyRef": {"name": "login"}}})
    queue["metadata"] |= {"namespace": NAMESPACE, "annotations": {"note": CANARY}}
    queue["spec"]["worker"] = {
        "image": "registry.example.com/app:1",
        "command": ["run", f"--password={CANARY}"],
        "args": [CANARY],
        "env": [{"name": "TOKEN", "value": CANARY}, {"name": "PLACE", "value": "bundled"}],
        "template": {
            "spec": {
                "initContainers": [{"name": "first", "image": "i", "args": ["-p", CANARY, password_url]}]
            }
        },
    }
    nightly = schedule(queueRef={"name": "bundled"}, payload={"text": MESSAGE}, suspend=True)
    nightly["metadata"]["namespace"] = NAMESPACE
    cluster.apply(queue, nightly)
    until(lambda: cluster.condition("bundled", "RedisReachable", NAMESPACE), "it has a status")
    event(cluster, pod_that_failed(cluster))
    file = tmp_path / "bundle.tar.gz"
    answer = ask("support-bundle", "-o", str(file), "--stats")
    assert [*answer] == ["file", "files", "missing"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    contents = unpacked(file)
    assert sorted(contents) == answer["files"]
    assert [name for name, text in contents.items() if CANARY in text or MESSAGE in text] == []
    (timed,) = json.loads(contents["redisqueueschedules.json"])
    assert (timed["spec"]["payload"], timed["spec"]["schedule"]) == ("REMOVED", "0 3 * * *")
    (ours,) = [
        one for one in json.loads(contents["redisqueues.json"]) if one["metadata"]["name"] == "bundled"
    ]
    assert ours["spec"]["worker"]["env"][0] == {"name": "TOKEN", "value": "REMOVED"}
    assert ours["spec"]["redis"]["urlFrom"]["secretKeyRef"]["name"] == "login", "names stay"
    assert ours["status"]["conditions"]
    deployments = json.loads(contents["deployments.json"])
    assert "bundled-worker" in [one["metadata"]["name"] for one in deployments]
    (seen,) = json.loads(contents["pods.json"])
    (ended,) = seen["status"]["containerStatuses"]
    assert ended["lastState"]["terminated"] == {
        **ended["lastState"]["terminated"],
        "message": "REMOVED",
        "exitCode": 3,
    }
    (told,) = [one for one in json.loads(contents["events.json"]) if one["reason"] == "Quoting"]
    assert told["message"] == "it said: REMOVED, and ended"
    (numbers,) = [one for one in json.loads(contents["stats.json"]) if one.get("queue") == "bundled"]
    assert numbers["pending"] == 1
    assert json.loads(contents["versions.json"])[0]["kubernetes"]["serverVersion"]["gitVersion"]
    assert json.loads(contents["definitions.json"])[0]["versions"][0]["name"] == "v1alpha1"
    assert "Not to be had" in contents["README.txt"], "no kubelet leads to the operator"


def pod_that_failed(cluster: Cluster) -> str:
    """A worker's pod whose container has ended with the canary as its last words."""
    name = "bundled-worker-1"
    pod(name, cluster, {"redisqueue.dev/queue": "bundled"})
    words = f"Traceback\n  ValueError: bad payload {CANARY} here"
    ended = {"exitCode": 3, "reason": "Error", "message": words}
    container_is(cluster, name, {}, lastState={"terminated": ended})
    return name


def event(cluster: Cluster, about: str) -> None:
    """One that quotes the container's last words."""
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "quoting", "namespace": NAMESPACE},
            "involvedObject": {"kind": "Pod", "name": about, "namespace": NAMESPACE},
            "reason": "Quoting",
            "message": f"it said: ValueError: bad payload {CANARY} here, and ended",
            "type": "Warning",
        }
    )


def unpacked(file: Path) -> dict[str, str]:
    """The contents of each file, by its name within the folder that all are in."""
    with tarfile.open(file) as archive:
        members = archive.getmembers()
        assert {one.name.partition("/")[0] for one in members} == {"bundle"}
        return {
            one.name.partition("/")[2]: archive.extractfile(one).read().decode()  # type: ignore[union-attr]
            for one in members
        }


def test_a_bundle_overwrites_nothing(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine"
    file.write_text("mine")
    assert main(["support-bundle", "-n", NAMESPACE, "-o", str(file)]) == 1
    assert "is there already: name another" in capsys.readouterr().err
    assert file.read_text() == "mine"
