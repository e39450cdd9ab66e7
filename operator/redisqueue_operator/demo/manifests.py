"""The Kubernetes objects of one run of the demo: a RedisQueue and the ConfigMap with its handler."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml


def manifests(run: str, redis_url: str) -> list[dict[str, Any]]:
    """Both objects, named `run`; `redis_url` is the address that the workers use."""
    here = files("redisqueue_operator.demo")
    queue: dict[str, Any] = yaml.safe_load(here.joinpath("redisqueue.yaml").read_text())
    queue["metadata"]["name"] = run
    queue["spec"]["redis"]["url"] = redis_url
    worker = queue["spec"]["worker"]
    worker["source"]["configMapRef"]["name"] = run
    worker["env"] = [{"name": "RESULTS_URL", "value": redis_url}, {"name": "DEMO_RUN", "value": run}]
    source = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": run},
        "data": {"handler.py": here.joinpath("handler.py").read_text()},
    }
    return [source, queue]
