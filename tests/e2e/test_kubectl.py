"""kubectl does with a RedisQueue what people expect of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.cluster import run, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.story import Story

CANARY = "c4n4ry-s3cr3t-0f-y0urs"
CLI = (sys.executable, "-m", "redisqueue_operator.cli")


def test_scale_get_explain_wait_describe(story: Story) -> None:
    def kubectl(*arguments: str) -> str:
        return story.cluster.kubectl("-n", story.namespace, *arguments)

    story.apply()
    kubectl("wait", "--for=condition=Ready", f"rq/{story.name}", "--timeout=60s")

    kubectl("scale", f"redisqueue/{story.name}", "--replicas=3")
    wait_until(lambda: story.ready_workers() == 3, 60, "three workers are ready")
    assert story.replicas() == 3

    header, row = kubectl("get", "rq", story.name).splitlines()
    assert header.split() == ["NAME", "PENDING", "INFLIGHT", "DLQ", "READY", "DESIRED", "STATE", "AGE"]
    columns = dict(zip(header.split(), row.split(), strict=True))
    assert (columns["PENDING"], columns["READY"], columns["DESIRED"]) == ("0", "3", "3")

    explained = kubectl("explain", "rq.spec.scaling")
    assert "maxReplicas" in explained
    assert "scaleDown" in explained

    wait_until(
        lambda: "Scaled" in kubectl("describe", "rq", story.name), 60, "describe shows the scaling's Event"
    )
    assert f"{story.name}" in kubectl("get", "all")

    for words in ("3 workers wanted, 3 ready", "stays at 3 (ManualReplicas)"):
        wait_until(lambda words=words: words in redisqueue(story, "explain"), 60, words)
    answer = json.loads(redisqueue(story, "explain", "--json"))
    assert (answer["source"], answer["problem"]) == ("operator", None)

    assert json.loads(redisqueue(story, "resume", "--wait", "--json"))["replicas"] is None
    scaled = json.loads(redisqueue(story, "scale", "2", "--wait", "--json"))
    assert (scaled["replicas"], scaled["desired"], scaled["ready"]) == (2, 2, 2)


def test_a_support_bundle_has_the_operators_words_and_no_secret(story: Story, tmp_path: Path) -> None:
    """The canary is in a variable of the worker, in a payload, and in the login."""
    login = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": story.name, "namespace": story.namespace},
    }
    story.client.execute_command("ACL", "SETUSER", "canary", "reset", "on", f">{CANARY}", "~*", "&*", "+@all")
    story.cluster.apply({**login, "stringData": {"user": "canary", "password": CANARY}})
    auth = {"secretRef": {"name": story.name, "usernameKey": "user"}}
    worker = story.manifest()["spec"]["worker"]
    environment = [*worker["env"], {"name": "API_TOKEN", "value": CANARY}]
    story.apply(redis={"auth": auth}, worker={"env": environment}, scaling={"minReplicas": 1})
    story.publish([{"id": CANARY, "seconds": 0}])
    story.wait_for_ends(1, seconds=60)
    wait_until(lambda: story.condition("Ready")[0] == "True", 60, "it is ready")
    file = tmp_path / "bundle.tar.gz"
    words = ("support-bundle", "-n", story.namespace, "-o", str(file), "--json")
    answer = json.loads(run(*CLI, *words, environment=story.cluster.environment))
    assert answer["missing"] == {}
    with tarfile.open(file) as archive:
        contents = {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert [name for name, text in contents.items() if CANARY in text] == []

    def of(end: str) -> str:
        return "".join(text for name, text in contents.items() if name.endswith(end))

    assert story.name in of(".log"), "the operator's log"
    assert "redisqueue_operator_leader 1.0" in of(".metrics.txt")
    assert "workers wanted" in of(f"explain/{story.namespace}_{story.name}.txt")
    assert story.name in of("bundle/pods.json")


def test_logs_follow_workers_that_come_and_go(story: Story, tmp_path: Path) -> None:
    story.apply(scaling={"minReplicas": 2})
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready")
    first = {pod["metadata"]["name"] for pod in story.pods()}
    said = tmp_path / "said"
    with said.open("w") as out:
        words = ("logs", f"rq/{story.name}", "-n", story.namespace, "-f", "--json")
        logs = subprocess.Popen(
            [*CLI, *words],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **story.cluster.environment},
        )

    def heard() -> set[str]:
        """Pods of whole lines; the last line may be on its way."""
        return {json.loads(line)["pod"] for line in said.read_text().split("\n")[:-1] if line.startswith("{")}

    try:
        wait_until(lambda: heard() >= first, 60, "both are heard")
        redisqueue(story, "scale", "0")
        story.wait_for_zero(60)
        redisqueue(story, "scale", "1", "--wait")
        (later,) = (pod["metadata"]["name"] for pod in story.pods())
        wait_until(lambda: later in heard(), 60, "the one that came later is heard")
        assert logs.poll() is None
    finally:
        logs.send_signal(signal.SIGINT)
        assert logs.wait(60) == 130
    records = [json.loads(line) for line in said.read_text().splitlines() if line.startswith("{")]
    assert all(one["record"] is None or one["record"]["message"] for one in records)
    starts = Counter((one["pod"], one["line"]) for one in records)
    assert max(starts.values()) == 1, "no line is told twice"
    once = redisqueue(story, "logs", "--tail", "1")
    assert once.startswith(f"{later} | ")

    def a_handler_is_shown() -> bool:
        story.publish([{"id": f"shown-{time.time()}", "seconds": 3}])  # whatever has ended since
        return "in handle" in redisqueue(story, "stacks")

    wait_until(a_handler_is_shown, 60, "stacks tell where a handler stands")


def test_drain_stops_the_workers_and_resume_brings_them_back(story: Story) -> None:
    story.apply(scaling={"minReplicas": 2})
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready")
    story.publish({"id": f"slow-{number}", "seconds": 3} for number in range(2))
    story.wait_for_starts(2, seconds=60)

    assert "no worker is left" in redisqueue(story, "drain")
    assert len(story.ends()) == 2, "what ran has finished"
    assert not story.pods()

    redisqueue(story, "drain", "--resume")
    wait_until(lambda: story.ready_workers() == 2, 60, "two workers are ready again")


def redisqueue(story: Story, command: str, *arguments: str) -> str:
    """What `redisqueue COMMAND NAME` prints."""
    words = (command, f"rq/{story.name}", *arguments, "-n", story.namespace)
    return run(*CLI, *words, environment=story.cluster.environment)
