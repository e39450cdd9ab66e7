"""`redisqueue import scaledobject`: what KEDA's objects become, and what is said of what cannot be."""

from __future__ import annotations

import copy
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from redisqueue_operator.api import validate
from redisqueue_operator.api.kubectl_yaml import load_all
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "c4n4ry-p4ssw0rd"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: mailer, namespace: shop, resourceVersion: "7"}
spec:
  replicas: 3
  revisionHistoryLimit: 10
  selector: {matchLabels: {app: mailer}}
  template:
    metadata: {labels: {app: mailer}, annotations: {team: mail}}
    spec:
      terminationGracePeriodSeconds: 75
      serviceAccountName: mailer
      dnsPolicy: ClusterFirst
      nodeSelector: {disk: fast}
      containers:
        - name: sidecar
          image: registry.example.com/statsd:1
        - name: app
          image: registry.example.com/mailer:12
          command: [python, -m, mailer]
          args: ["--verbose"]
          env:
            - {name: REDIS_ADDRESS, value: "redis.shop.svc:6380"}
            - {name: REDIS_PASSWORD, valueFrom: {secretKeyRef: {name: mail-redis, key: pw}}}
            - {name: PLAIN, value: c4n4ry-p4ssw0rd}
            - {name: FLAG, value: "y"}
          resources: {requests: {cpu: 100m}}
          volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes: [{name: scratch, emptyDir: {}}]
"""
SCALED = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: mails, namespace: shop, labels: {team: mail}}
spec:
  scaleTargetRef: {name: mailer, envSourceContainerName: app}
  minReplicaCount: 1
  maxReplicaCount: 30
  cooldownPeriod: 60
  triggers:
    - type: redis
      metadata:
        addressFromEnv: REDIS_ADDRESS
        passwordFromEnv: REDIS_PASSWORD
        listName: "mails::pending"
        listLength: "10"
        databaseIndex: "2"
"""
Import = "Callable[..., tuple[dict[str, Any], list[str]]]"


def scaled(change: Callable[[dict[str, Any]], Any] = lambda _: None) -> dict[str, Any]:
    item: dict[str, Any] = yaml.safe_load(SCALED)
    change(item["spec"])
    return item


def trigger(kind: str = "redis", authentication: str = "", **metadata: str) -> dict[str, Any]:
    """A ScaledObject with this trigger."""
    reference = {"authenticationRef": {"name": authentication}} if authentication else {}
    one = {"type": kind, "metadata": metadata, **reference}
    return scaled(lambda spec: spec.update(triggers=[one]))


def authentication(**parameters: tuple[str, str]) -> dict[str, Any]:
    references = [
        {"parameter": name, "name": secret, "key": key} for name, (secret, key) in parameters.items()
    ]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "TriggerAuthentication",
        "metadata": {"name": "login"},
        "spec": {"secretTargetRef": references},
    }


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Import:
    """The RedisQueue that becomes of objects and the Deployment, and the notes; it passes lint."""

    def convert(*objects: dict[str, Any], words: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
        text = f"{DEPLOYMENT}---\n{yaml.safe_dump_all(objects)}"
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["import", "scaledobject", "-", *words]) == 0
        said = capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(said.out))
        assert main(["lint", "-"]) == 0, capsys.readouterr().out
        capsys.readouterr()
        (queue,) = load_all(said.out)
        return queue, said.err.splitlines()

    return convert


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is said of objects that cannot be converted."""

    def convert(*objects: dict[str, Any]) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump_all(objects)))
        assert main(["import", "scaledobject", "-"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return convert


def test_a_scaled_object_and_its_deployment_become_one_resource(converted: Import) -> None:
    queue, notes = converted(scaled())
    assert queue["metadata"] == {"name": "mails", "namespace": "shop", "labels": {"team": "mail"}}
    spec = queue["spec"]
    assert spec["redis"] == {
        "url": "redis://redis.shop.svc:6380",
        "database": 2,
        "auth": {"secretRef": {"name": "mail-redis", "passwordKey": "pw"}},
    }
    assert "queue" not in spec, "its name is that of the RedisQueue"
    assert spec["scaling"] == {
        "minReplicas": 1,
        "maxReplicas": 30,
        "backlogPerSlot": 10,
        "scaleDown": {"idleSeconds": 60},
    }
    assert spec["drain"] == {"timeoutSeconds": 60}
    worker = spec["worker"]
    assert worker["image"] == "registry.example.com/mailer:12"
    assert (worker["command"], worker["args"]) == (["python", "-m", "mailer"], ["--verbose"])
    assert {"name": "FLAG", "value": "y"} in worker["env"], "a text stays a text for kubectl"
    assert worker["resources"] == {"requests": {"cpu": "100m"}}
    assert worker["serviceAccountName"] == "mailer"
    assert worker["template"]["metadata"] == {"labels": {"app": "mailer"}, "annotations": {"team": "mail"}}
    pod = worker["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    mine, other = pod["containers"]
    assert mine == {"name": "worker", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}
    assert other == {"name": "sidecar", "image": "registry.example.com/statsd:1"}
    assert [line.split(": ")[1] for line in notes] == [
        "spec.template.spec.containers[1].command",
        "spec.template.spec.serviceAccountName",
        "spec.template.spec.securityContext",
    ]


def test_a_handler_takes_the_place_of_the_command_and_of_its_probes(converted: Import) -> None:
    queue, notes = converted(scaled(), words=("--handler", "mailer.tasks:send"))
    assert queue["spec"]["worker"]["handler"] == "mailer.tasks:send"
    assert not {"command", "args"} & queue["spec"]["worker"].keys()
    assert not [line for line in notes if ".command" in line]


UNKNOWN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "spec.surprise": lambda spec: spec.update(surprise=1),
    "spec.scaleTargetRef.surprise": lambda spec: spec["scaleTargetRef"].update(surprise=1),
    "spec.triggers[0].surprise": lambda spec: spec["triggers"][0].update(surprise=1),
    "spec.triggers[0].metadata.surprise": lambda spec: spec["triggers"][0]["metadata"].update(surprise=1),
    "spec.fallback.surprise": lambda spec: spec.update(fallback={"surprise": 1}),
    "spec.advanced.surprise": lambda spec: spec.update(advanced={"surprise": 1}),
    "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.surprise": lambda spec: spec.update(
        advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {"surprise": 1}}}}
    ),
    "spec.pollingInterval": lambda spec: spec.update(pollingInterval=5),
    "spec.initialCooldownPeriod": lambda spec: spec.update(initialCooldownPeriod=5),
    "spec.idleReplicaCount": lambda spec: spec.update(idleReplicaCount=0),
    "spec.advanced.scalingModifiers": lambda spec: spec.update(advanced={"scalingModifiers": {"target": 1}}),
    "spec.triggers[0].metricType": lambda spec: spec["triggers"][0].update(metricType="Value"),
    "spec.triggers[0].metadata.listName": lambda spec: spec["triggers"][0]["metadata"].update(listName="l"),
    "spec.triggers[0].metadata.activationListLength": lambda spec: spec["triggers"][0]["metadata"].update(
        activationListLength="3"
    ),
    "spec.triggers[0].metadata.listLength": lambda spec: spec["triggers"][0]["metadata"].update(
        listLength="many"
    ),
    "spec.triggers[1]": lambda spec: spec["triggers"].append({"type": "cron", "metadata": {}}),
    "spec.maxReplicaCount": lambda spec: spec.update(maxReplicaCount=5000),
    "spec.cooldownPeriod": lambda spec: spec.update(cooldownPeriod=True),
    "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp.policies": lambda spec: spec.update(
        advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": {"policies": "Pods"}}}}
    ),
}


@pytest.mark.parametrize("field", UNKNOWN)
def test_each_field_that_has_no_counterpart_is_named(converted: Import, field: str) -> None:
    _, usual = converted(scaled())
    _, notes = converted(scaled(UNKNOWN[field]))
    (note,) = [line for line in notes if line not in usual]
    assert note.startswith(f"ScaledObject mails: {field}: ")
    assert len(note) > len(f"ScaledObject mails: {field}: ") + 15, "it says what to do"


CRON = {
    "type": "cron",
    "metadata": {"start": "0 8 * * 1-5", "end": "0  18 * * 1-5", "timezone": "Asia/Kolkata"},
}


def _with_cron(**metadata: str) -> Callable[[Any], None]:
    return lambda spec: spec["triggers"].append({**CRON, "metadata": {**CRON["metadata"], **metadata}})


@pytest.mark.parametrize(("wanted", "least"), [("10", 10), ("99", 30)])
def test_a_cron_trigger_beside_the_list_is_a_schedule(converted: Import, wanted: str, least: int) -> None:
    _, usual = converted(scaled())
    queue, notes = converted(scaled(_with_cron(desiredReplicas=wanted)))
    window = {"start": "0 8 * * 1-5", "end": "0 18 * * 1-5", "timeZone": "Asia/Kolkata"}
    assert queue["spec"]["scaling"]["schedules"] == [{**window, "minReplicas": least}]
    assert notes == usual
    assert validate(queue) == []


@pytest.mark.parametrize(
    ("metadata", "said"),
    [({"timezone": "Mars/Base"}, "timeZone"), ({"end": "0 18 * * 9"}, "end"), ({"start": ""}, "start")],
)
def test_a_cron_trigger_that_is_none_is_named(converted: Import, metadata: dict[str, str], said: str) -> None:
    queue, notes = converted(scaled(_with_cron(desiredReplicas="2", **metadata)))
    assert "schedules" not in queue["spec"]["scaling"]
    assert any(
        note.startswith("ScaledObject mails: spec.triggers[1]: left out") and said in note for note in notes
    )


def test_nothing_of_the_deployment_is_lost_in_silence(
    converted: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = DEPLOYMENT.replace("  replicas: 3\n", "  replicas: 3\n  surprise: 1\n  minReadySeconds: 5\n")
    monkeypatch.setitem(globals(), "DEPLOYMENT", more)
    _, notes = converted(scaled())
    said = {line.split(": ")[1] for line in notes if line.startswith("Deployment mailer")}
    assert {"spec.surprise", "spec.minReadySeconds"} <= said


def test_sentinels_and_tls_of_an_authentication(converted: Import) -> None:
    login = authentication(
        username=("redis", "user"),
        password=("redis", "pw"),
        sentinelPassword=("sentinel", "pw"),
        tls=("redis", "tls"),
        ca=("redis-ca", "ca.pem"),
        cert=("client", "c"),
        key=("client", "k"),
    )
    item = trigger("redis-sentinel", "login", addresses="a:26379, b:26379", sentinelMaster="m", listName="l")
    queue, notes = converted(item, login)
    assert queue["spec"]["redis"] == {
        "url": "rediss://m",
        "mode": "Sentinel",
        "auth": {"secretRef": {"name": "redis", "passwordKey": "pw", "usernameKey": "user"}},
        "tls": {
            "caFrom": {"secretKeyRef": {"name": "redis-ca", "key": "ca.pem"}},
            "certFrom": {"secretRef": {"name": "client", "certKey": "c", "keyKey": "k"}},
        },
        "sentinel": {
            "masterName": "m",
            "addresses": ["a:26379", "b:26379"],
            "auth": {"secretRef": {"name": "sentinel", "passwordKey": "pw"}},
        },
    }
    assert queue["spec"]["queue"] == {"name": "l"}
    assert not [line for line in notes if "authentication" in line.lower()]


def test_streams_of_a_cluster_get_a_hash_tag(converted: Import) -> None:
    item = trigger(
        "redis-cluster-streams", hosts="a,b", ports="1,2", stream="s", consumerGroup="g", lagCount="7"
    )
    queue, notes = converted(item)
    assert queue["spec"]["redis"] == {"url": "redis://a:1", "mode": "Cluster"}
    assert queue["spec"]["queue"] == {"name": "{s}"}
    assert queue["spec"]["scaling"]["backlogPerSlot"] == 7
    assert [line for line in notes if "metadata.stream: " in line and "enqueue to 's'" in line]


def test_the_behaviour_of_the_autoscaler_and_the_fallback(converted: Import) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["pollingInterval"] = 10
        spec["fallback"] = {"failureThreshold": 3, "replicas": 4, "behavior": "currentReplicasIfHigher"}
        up = {
            "stabilizationWindowSeconds": 15,
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 10}],
        }
        down = {"stabilizationWindowSeconds": 90, "selectPolicy": "Disabled"}
        down["policies"] = [{"type": "Percent", "value": 60, "periodSeconds": 60}]
        behavior = {"scaleUp": up, "scaleDown": down}
        spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": behavior}}

    scaling = converted(scaled(change))[0]["spec"]["scaling"]
    assert scaling["fallback"] == {"behavior": "AtLeast", "replicas": 4, "afterSeconds": 30}
    assert scaling["scaleUp"] == {"stabilizationSeconds": 15, "maxStep": 4}
    assert scaling["scaleDown"] == {"idleSeconds": 60, "stabilizationSeconds": 90, "maxPercent": 10}
    assert scaling["mode"] == "UpOnly"


def test_no_number_is_above_the_maximum_and_each_cut_is_told(converted: Import) -> None:
    item = scaled(lambda spec: spec.update(maxReplicaCount=3, minReplicaCount=5, fallback={"replicas": 9}))
    item["metadata"]["annotations"] = {"autoscaling.keda.sh/paused-replicas": "4"}
    queue, notes = converted(item)
    scaling = queue["spec"]["scaling"]
    assert (scaling["minReplicas"], scaling["fallback"]["replicas"], queue["spec"]["replicas"]) == (3, 3, 3)
    assert sum("is not between 0 and 3: 3 is taken" in line for line in notes) == 3


def test_a_cron_trigger_that_ends_when_it_starts_is_named(converted: Import) -> None:
    window = {"start": "0 8 * * *", "end": "0 8-9 * * *", "timezone": "UTC", "desiredReplicas": "2"}
    item = scaled(lambda spec: spec["triggers"].append({"type": "cron", "metadata": window}))
    queue, notes = converted(item)
    assert "schedules" not in queue["spec"]["scaling"]
    assert [line for line in notes if "left out: end ticks whenever start does" in line]


@pytest.mark.parametrize(
    ("name", "value", "mode", "replicas"),
    [
        ("paused-replicas", "2", None, 2),
        ("paused", "true", "Paused", None),
        ("paused-scale-in", "true", "UpOnly", None),
        ("paused", "false", None, None),
    ],
)
def test_who_is_paused_stays_so(
    converted: Import, name: str, value: str, mode: str | None, replicas: int | None
) -> None:
    item = scaled()
    item["metadata"]["annotations"] = {f"autoscaling.keda.sh/{name}": value, "mine": "1"}
    queue, _ = converted(item)
    assert (queue["spec"]["scaling"].get("mode"), queue["spec"].get("replicas")) == (mode, replicas)
    assert queue["metadata"]["annotations"] == {"mine": "1"}


@pytest.mark.parametrize("where", ["metadata", "variable"])
def test_a_password_in_plain_is_neither_taken_over_nor_told(converted: Import, where: str) -> None:
    given = {"password": CANARY} if where == "metadata" else {"passwordFromEnv": "PLAIN"}
    queue, notes = converted(trigger(address="redis:6379", listName="mails::pending", **given))
    assert queue["spec"]["redis"]["auth"] == {"secretRef": {"name": "mails-redis", "passwordKey": "password"}}
    (note,) = [line for line in notes if ".password: " in line]
    assert "kubectl create secret generic mails-redis" in note
    assert CANARY not in "".join(notes)
    environment = {one["name"]: one for one in queue["spec"]["worker"]["env"]}
    assert environment.pop("PLAIN"), "the Deployment's own variables are its own"
    assert CANARY not in json.dumps({**queue["spec"], "worker": list(environment.values())})


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([scaled()], "Deployment mailer is not among the files: give it too (kubectl get deployment mailer"),
        ([yaml.safe_load(DEPLOYMENT)], "no ScaledObject in it"),
        ([yaml.safe_load(DEPLOYMENT), trigger("kafka")], "no trigger of Redis (there is: kafka)"),
        ([yaml.safe_load(DEPLOYMENT), trigger(listName="l")], "the trigger names no address"),
        ([yaml.safe_load(DEPLOYMENT), trigger(address="a:1")], "no list and no stream"),
        ([yaml.safe_load(DEPLOYMENT), trigger("redis-cluster", listName="l")], "addresses of Cluster"),
        (
            [yaml.safe_load(DEPLOYMENT), trigger("redis-cluster", listName="l", addresses=", ")],
            "the addresses of Cluster are not known (there are none)",
        ),
        ([yaml.safe_load(DEPLOYMENT), trigger(listName="l", address="a:b")], "address is none (Port could"),
        ([yaml.safe_load(DEPLOYMENT), trigger(listName="l", address="[a]:1")], "address is none ('a' does"),
    ],
)
def test_what_cannot_be_converted_is_told_with_the_way_out(
    refused: Callable[..., str], objects: list[dict[str, Any]], said: str
) -> None:
    assert said in refused(*objects)


@pytest.mark.parametrize("address", [f"redis://me:{CANARY}@a:1", f"me:{CANARY}@a:1", "rediss://a:1", "a:1/3"])
def test_an_address_that_says_more_is_not_cut_in_silence(refused: Callable[..., str], address: str) -> None:
    told = refused(yaml.safe_load(DEPLOYMENT), trigger(listName="l", address=address))
    assert "the trigger's address says more than host:port: write user, password, database and TLS" in told
    assert CANARY not in told


@pytest.mark.parametrize(
    ("deployed", "said"),
    [
        ({"spec": [1]}, "Deployment mailer: spec must be a mapping, and is a list"),
        (
            {"spec": {"template": {"spec": {"containers": {"app": {}}}}}},
            "containers must be a list, and is a",
        ),
        ({"spec": {"template": {"spec": {"containers": [None]}}}}, "spec.containers[0] is empty: fill it in"),
        (
            {"spec": {"template": {"spec": {"containers": [{"env": {"PASSWORD": CANARY}}]}}}},
            "spec.template.spec.containers[0].env must be a list, and is a mapping: correct it",
        ),
    ],
)
def test_a_part_that_has_another_shape_is_named_without_what_is_in_it(
    refused: Callable[..., str], deployed: dict[str, Any], said: str
) -> None:
    told = refused({**yaml.safe_load(DEPLOYMENT), **deployed}, scaled())
    assert said in told
    assert CANARY not in told


def test_without_a_command_somebody_has_to_say_what_runs(refused: Callable[..., str]) -> None:
    deployment = copy.deepcopy(yaml.safe_load(DEPLOYMENT))
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        container.pop("command", None)
    assert "give --handler MODULE:FUNCTION" in refused(deployment, scaled())


def test_json_has_the_resources_and_the_notes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{DEPLOYMENT}---\n{SCALED}"))
    assert main(["import", "scaledobject", "-", "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert answer.keys() == {"redisqueues", "notes"}
    assert answer["redisqueues"][0]["kind"] == "RedisQueue"
    assert {frozenset(note) for note in answer["notes"]} == {frozenset(("object", "field", "text"))}
    assert said.err == ""
