"""What the operator writes into a pod is what the worker reads: every sample's environment will do."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.support.readmes import blocks
from tests.support.redisqueue_cases import GOOD, SAMPLES, Object, redis_queue, sample_objects

from redisqueue_operator import api
from redisqueue_operator.decide.children.environment import (
    connection_environment,
    pod_environment,
    worker_environment,
)
from redisqueue_operator.decide.children.pod_template import pod_template
from redisqueue_worker.settings import OPTIONS, Settings, read_settings

SAMPLE_QUEUES = {
    path.stem: item
    for path in sorted(SAMPLES.glob("*.yaml"))
    for item in sample_objects(path)
    if item["kind"] == "RedisQueue"
}
CASES = {
    name: obj for name, obj in (SAMPLE_QUEUES | GOOD).items() if "handler" in obj["spec"].get("worker", ())
}


def settings(obj: Object, folder: Path) -> Settings:
    """What a worker reads in a pod of this RedisQueue whose Secrets are mounted below `folder`."""
    queue = api.parse(obj)
    plain = worker_environment(queue) | connection_environment(queue)
    plain |= {item["name"]: item.get("value", "from-the-pod") for item in pod_environment(queue)}
    for name, value in plain.items():
        if name.endswith("_FILE"):
            path = folder / value.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("redis://app:secret@redis:6379/4\n")
            plain[name] = str(path)
    return read_settings({}, plain)


@pytest.mark.parametrize("case", CASES)
def test_the_worker_takes_it(case: str, tmp_path: Path) -> None:
    queue = api.parse(CASES[case])
    found = settings(CASES[case], tmp_path)
    assert (found.queue, found.key_separator) == (queue.spec.queue.name, queue.spec.queue.key_separator)
    assert found.heartbeat_seconds == queue.spec.queue.heartbeat_seconds
    assert found.concurrency == queue.spec.worker.concurrency
    assert found.grace_period_seconds == found.drain_timeout_seconds + 15
    assert found.leave_lease == (queue.spec.drain.on_timeout == "LeaveLease")
    assert found.connection.mode == queue.spec.redis.mode


def test_the_address_from_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    redis = {"urlFrom": {"secretKeyRef": {"name": "redis"}}}
    assert settings(redis_queue(redis=redis), tmp_path).connection.redacted == "redis://redis:6379/4"


def test_the_pod_that_the_page_shows_for_a_quick_start_has_no_volume() -> None:
    shown = [block.text for block in blocks(Path("operator/docs/tuning.md")) if block.language == "yaml"]
    (item,) = (one for one in map(yaml.safe_load, shown) if "template" in one["spec"]["worker"])
    item["metadata"] |= {"namespace": "default", "uid": "some"}
    template = pod_template(
        api.parse(item), image="image", pull_secrets=(), secret_versions={}, source_name=None
    )
    (container,) = template["spec"]["containers"]
    assert not template["spec"]["volumes"]
    assert not container["volumeMounts"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    found = {one["name"]: one.get("value") for one in container["env"]}
    assert (found["REDISQUEUE_RUN_DIR"], found["TMPDIR"]) == ("/dev/shm/redisqueue", "/dev/shm")


@pytest.mark.parametrize("name", SAMPLE_QUEUES)
def test_no_variable_is_unknown_to_the_worker(name: str) -> None:
    queue = api.parse(SAMPLE_QUEUES[name])
    written = {*worker_environment(queue), *connection_environment(queue)}
    written |= {item["name"] for item in pod_environment(queue)}
    assert written <= {option.variable for option in OPTIONS}
