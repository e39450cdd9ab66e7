"""What holds for the manifests of every RedisQueue; how they look in full is in tests/golden."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.redisqueue_cases import redis_queue, worker

from redisqueue_operator import api
from redisqueue_operator.decide.children import SourceMissingError, children, worker_environment
from redisqueue_operator.decide.children.deployment import canary_of

FILES = {"tasks.py": "def handle(payload): ..."}
SOURCE = {"configMapRef": {"name": "files"}}
IMAGE = {"image": {"reference": "registry.example.com/shop/handlers:1"}}


def manifests(
    obj: dict[str, Any], uid: str = "u1", version: str = "1.0", **arguments: Any
) -> dict[str, dict[str, Any]]:
    """The manifests by kind."""
    obj["metadata"]["uid"] = uid
    found = children(api.parse(obj), default_image="default:1", operator_version=version, **arguments)
    assert [child["kind"] for child in found][-1] == "Deployment", "it starts pods, so it comes last"
    return {child["kind"]: child for child in found}


def pod(obj: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = manifests(obj, **arguments)["Deployment"]["spec"]["template"]
    return result


def config_hash(obj: dict[str, Any], **arguments: Any) -> str:
    return str(pod(obj, **arguments)["metadata"]["annotations"]["redisqueue.dev/config-hash"])


def test_number_of_workers_is_left_to_the_scale_subresource() -> None:
    assert "replicas" not in manifests(redis_queue(replicas=3))["Deployment"]["spec"]


def test_children_are_owned_unless_they_shall_outlive_the_resource() -> None:
    for child in manifests(worker(source=SOURCE), source=FILES).values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("RedisQueue", "u1", True)
    for child in manifests(redis_queue(deletionPolicy="Orphan")).values():
        assert "ownerReferences" not in child["metadata"]
        assert child["metadata"]["annotations"]["redisqueue.dev/owner-uid"] == "u1"


@pytest.mark.parametrize(
    ("spec", "used"),
    [
        ({}, ["default"]),
        ({"imagePullSecrets": [{"name": "own"}]}, ["own"]),
        ({"image": "registry.example.com/mine:1"}, []),
        ({"image": "registry.example.com/mine:1", "imagePullSecrets": [{"name": "own"}]}, ["own"]),
        ({"source": IMAGE}, ["default"]),
        ({"source": IMAGE, "imagePullSecrets": [{"name": "own"}]}, ["own", "default"]),
        ({"source": IMAGE, "imagePullSecrets": [{"name": "default"}]}, ["default"]),
        ({"source": IMAGE, "image": "mine:1", "imagePullSecrets": [{"name": "own"}]}, ["own"]),
    ],
)
def test_the_default_image_has_its_secrets_unless_the_spec_names_some(
    spec: dict[str, Any], used: list[str]
) -> None:
    template = pod(worker(**spec), default_pull_secrets=("default",))
    assert [each["name"] for each in template["spec"].get("imagePullSecrets", ())] == used


def test_an_operator_upgrade_alone_rolls_nothing() -> None:
    assert pod(redis_queue(), version="1.0") == pod(redis_queue(), version="2.0")


def test_scaling_rolls_nothing() -> None:
    assert config_hash(redis_queue()) == config_hash(redis_queue(scaling={"maxReplicas": 3}, replicas=2))


@pytest.mark.parametrize(
    "spec",
    [
        {"queue": {"visibilityTimeoutSeconds": 60}},
        {"redis": {"url": "redis://other:6379"}},
        {"drain": {"timeoutSeconds": 60}},
        {"worker": {"handler": "tasks:handle", "concurrency": 2}},
        {"worker": {"handler": "tasks:handle", "template": {"spec": {"nodeName": "n"}}}},
    ],
)
def test_what_workers_are_told_rolls_them(spec: dict[str, Any]) -> None:
    assert config_hash(redis_queue()) != config_hash(redis_queue(**spec))


def test_changed_files_roll_the_workers_to_a_new_snapshot() -> None:
    old, new = ({"tasks.py": text} for text in ("a = 1", "a = 2"))
    one, two = (manifests(worker(source=SOURCE), source=files) for files in (old, new))
    names = [found["ConfigMap"]["metadata"]["name"] for found in (one, two)]
    assert names[0] != names[1]
    for found, name in zip((one, two), names, strict=True):
        assert found["ConfigMap"]["immutable"] is True
        volumes = found["Deployment"]["spec"]["template"]["spec"]["volumes"]
        assert {"name": "handler", "configMap": {"name": name}} in volumes
    again = manifests(worker(source=SOURCE), source=old)["ConfigMap"]["metadata"]["name"]
    assert again == names[0], "so a rollback finds the old files"


def test_missing_files_are_named() -> None:
    with pytest.raises(SourceMissingError, match=r"spec\.worker\.source.*'files'.*create it"):
        manifests(worker(source=SOURCE), source=None)


def test_a_new_url_rolls_the_workers_and_a_new_password_does_not() -> None:
    redis = {"urlFrom": {"secretKeyRef": {"name": "url"}}, "auth": {"secretRef": {"name": "login"}}}
    old, url, password = (
        config_hash(redis_queue(redis=redis), secret_versions=versions)
        for versions in (
            {"url": "u.1", "login": "u.1"},
            {"url": "u.2", "login": "u.1"},
            {"url": "u.1", "login": "u.2"},
        )
    )
    assert old != url
    assert old == password


def test_the_users_template_cannot_unhook_the_pods() -> None:
    labels = {"redisqueue.dev/queue": "another", "team": "shop"}
    annotations = {"redisqueue.dev/config-hash": "0", "note": "kept"}
    template = {"metadata": {"labels": labels, "annotations": annotations}}
    found = manifests(worker(template=template))["Deployment"]["spec"]
    assert found["selector"]["matchLabels"].items() <= found["template"]["metadata"]["labels"].items()
    assert found["template"]["metadata"]["labels"]["team"] == "shop"
    assert found["template"]["metadata"]["annotations"]["note"] == "kept"
    assert found["template"]["metadata"]["annotations"]["redisqueue.dev/config-hash"] != "0"


def test_pods_meet_the_restricted_standard() -> None:
    spec = pod(redis_queue())["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_grace_period_covers_the_drain() -> None:
    spec = pod(redis_queue(drain={"timeoutSeconds": 40}))["spec"]
    assert spec["terminationGracePeriodSeconds"] == 55
    assert spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["redisqueue-worker", "drain"]


def test_a_command_gets_the_environment_but_no_probes() -> None:
    (container,) = pod(redis_queue(worker={"command": ["run"], "image": "own:1"}))["spec"]["containers"]
    assert container["command"] == ["run"]
    assert not {"lifecycle", "startupProbe", "readinessProbe", "livenessProbe"} & container.keys()
    assert {"name": "REDISQUEUE_QUEUE", "value": "emails"} in container["env"]


def test_credentials_are_files_and_never_in_the_environment() -> None:
    obj = redis_queue(
        redis={
            "urlFrom": {"secretKeyRef": {"name": "address", "key": "redis"}},
            "auth": {"secretRef": {"name": "login"}},
        }
    )
    spec = pod(obj)["spec"]
    values = {item["name"]: item.get("value") for item in spec["containers"][0]["env"]}
    assert values["REDISQUEUE_REDIS_URL_FILE"] == "/etc/redisqueue/redis/url"
    assert values["REDISQUEUE_REDIS_PASSWORD_FILE"] == "/etc/redisqueue/redis/password"
    assert "REDISQUEUE_REDIS_URL" not in values
    assert not any("secretKeyRef" in str(item) for item in spec["containers"][0]["env"])
    (volume,) = (item for item in spec["volumes"] if item["name"] == "redis")
    files = {source["secret"]["name"]: source["secret"]["items"] for source in volume["projected"]["sources"]}
    assert files == {
        "address": [{"key": "redis", "path": "url"}],
        "login": [{"key": "password", "path": "password"}],
    }


def test_environment_for_any_place_knows_nothing_of_pods() -> None:
    environment = worker_environment(api.parse(redis_queue(queue={"visibilityTimeoutSeconds": 10})))
    assert environment["REDISQUEUE_HEARTBEAT_SECONDS"] == "2.5"
    assert not any("REDIS_URL" in name or "FILE" in name or "POD" in name for name in environment)


def test_canaries_are_workers_with_a_label_more() -> None:
    stable = manifests(redis_queue("jobs"))["Deployment"]
    canary = canary_of(stable, "jobs")
    track = {"redisqueue.dev/track": "canary"}
    assert canary["metadata"]["name"] == "jobs-canary"
    assert canary["spec"]["selector"]["matchLabels"] == stable["spec"]["selector"]["matchLabels"] | track
    template, twin = stable["spec"]["template"], canary["spec"]["template"]
    assert twin["metadata"]["labels"] == template["metadata"]["labels"] | track
    assert twin["metadata"]["annotations"] == template["metadata"]["annotations"], "the hash of what is tried"
    assert twin["spec"] == template["spec"]
    assert track.keys().isdisjoint(template["metadata"]["labels"]), "the other one is not changed"
