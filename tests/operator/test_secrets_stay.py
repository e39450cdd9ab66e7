"""A password that nobody else has is searched in all that an operator and a worker say, whatever fails."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.operator_process import Cluster, OperatorProcess, until
from tests.support.redisqueue_cases import redis_queue

from redisqueue_worker.embedded_redis import free_port

if TYPE_CHECKING:
    import redis
    from tests.support.api_server import ApiServer

NAMESPACE = "canaries"
CANARY = "Kanarienvogel-93b1"
SHOWN = "rq,deployment,configmap,poddisruptionbudget,events,events.events.k8s.io,replicaset,lease"


def secret(name: str, **texts: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": texts}


def urls(redis_url: str) -> dict[str, tuple[str, str]]:
    """By the name of the RedisQueue: the URL in its Secret, and whether Redis is reached."""
    host, closed = urlsplit(redis_url).netloc, free_port()
    return {
        "right": (f"redis://canary:{CANARY}@{host}/0", "True"),
        "wrong": (f"redis://canary:{CANARY}-not@{host}/0", "False"),
        "unknown": (f"redis://nobody:{CANARY}@{host}/0", "False"),
        "refused": (f"redis://canary:{CANARY}@127.0.0.1:{closed}/0", "False"),
        "no-tls": (f"rediss://canary:{CANARY}@{host}/0", "False"),
        "option": (f"redis://{host}/0?password={CANARY}", "False"),
        "no-port": (f"redis://canary:{CANARY}@127.0.0.1:port/0", "False"),
        "no-database": (f"redis://canary:{CANARY}@{host}/{CANARY}", "False"),
        "no-url": (f"canary {CANARY}", "False"),
    }


def queues(redis_url: str) -> list[dict[str, Any]]:
    made = [
        redis_queue(name, redis={"urlFrom": {"secretKeyRef": {"name": name}}}) for name in urls(redis_url)
    ]
    login = {"secretRef": {"name": "login", "usernameKey": "username"}}
    place = urlsplit(redis_url).netloc
    made.append(redis_queue("login", redis={"url": redis_url, "auth": login}))
    sentinel = {"masterName": "main", "addresses": [place], "auth": login}
    made.append(
        redis_queue(
            "sentinel", redis={"url": redis_url, "mode": "Sentinel", "sentinel": sentinel, "auth": login}
        )
    )
    reference = {"valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}}
    for each in made:
        each["metadata"]["namespace"] = NAMESPACE
        each["spec"]["worker"] = {"handler": "a:b", "env": [{"name": "PASSWORD", **reference}]}
    return made


def test_it_is_nowhere(
    api_server: ApiServer, redis_url: str, redis_client: redis.Redis, tmp_path: Path
) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    redis_client.acl_setuser("canary", enabled=True, passwords=[f"+{CANARY}"], keys=["*"], commands=["+@all"])
    places, made = urls(redis_url), queues(redis_url)
    wanted = {name: reached for name, (_, reached) in places.items()} | {"login": "True", "sentinel": "False"}
    cluster.apply(
        *(secret(name, url=url) for name, (url, _) in places.items()),
        secret("login", username="canary", password=CANARY),
        *made,
    )
    flags = (f"--namespace={NAMESPACE}", f"--watch-namespaces={NAMESPACE}", "--log-level=DEBUG")
    page = free_port()
    found: dict[str, str] = {}
    try:
        with OperatorProcess(api_server, tmp_path / "log", *flags, f"--page-port={page}") as operator:
            for name, reached in wanted.items():
                told = lambda name=name: cluster.condition(name, "RedisReachable", NAMESPACE)  # noqa: E731
                until(lambda told=told, reached=reached: told().get("status") == reached, name)  # type: ignore[misc]
                found[f"explain {name}"] = operator.read(f"/explain/{NAMESPACE}/{name}")
            with urllib.request.urlopen(f"http://127.0.0.1:{page}/", timeout=20) as answer:
                found["page"] = answer.read().decode()
            found["metrics"] = operator.read("/metrics")
            assert operator.process is not None
            found["arguments"] = Path(f"/proc/{operator.process.pid}/cmdline").read_text()
        found["objects"] = cluster.run("get", SHOWN, "-n", NAMESPACE, "-o", "yaml", "--show-managed-fields")
        found["operator's log"] = (tmp_path / "log").read_text()
        found |= {f"worker {name}": worker(places[name][0]) for name in ("wrong", "refused", "no-url")}
        found["support bundle"] = bundle(api_server, tmp_path / "bundle.tar.gz")
    finally:
        cluster.run("delete", "rq,deployment,configmap,poddisruptionbudget,secret", "--all", "-n", NAMESPACE)
        redis_client.acl_deluser("canary")
    assert all(found.values()), "what was not read proves nothing"
    hidden = (CANARY, CANARY.lower(), base64.b64encode(CANARY.encode()).decode()[:-4])
    assert [place for place, text in found.items() if any(each in text for each in hidden)] == []


def worker(url: str) -> str:
    """All that a worker says of this URL when it is asked to try it."""
    ours = {
        "REDISQUEUE_REDIS_URL": url,
        "REDISQUEUE_QUEUE": "jobs",
        "REDISQUEUE_HANDLER": "shlex:quote",
        "REDISQUEUE_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, "-m", "redisqueue_worker.cli", "check"]
    done = subprocess.run(
        command, env={**os.environ, **ours}, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr + f"exit {done.returncode}"


def bundle(server: ApiServer, file: Path) -> str:
    """All files of a support bundle, also of what cannot be read, and what is said while it is made."""
    here = {"KUBECONFIG": str(server.kubeconfig), "PATH": f"{server.folder}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "redisqueue_operator.cli", "support-bundle", "-n", NAMESPACE]
    done = subprocess.run(
        [*command, "--stats", "-o", str(file)],
        env={**os.environ, **here},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(file) as archive:
        texts = {each.name: archive.extractfile(each).read().decode() for each in archive.getmembers()}  # type: ignore[union-attr]
    assert any(each.endswith("redisqueues.json") and "no-database" in text for each, text in texts.items())
    return "\n".join([*texts.values(), done.stdout, done.stderr])
