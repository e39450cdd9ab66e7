"""What is remembered of children goes with their RedisQueue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.operator_process import Cluster
from tests.support.resources import redis_queue

from redisqueue_operator.api.model import Key
from redisqueue_operator.apply.dependents import Dependents
from redisqueue_operator.apply.deployments import Deployments
from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.decide.children import children
from redisqueue_operator.decide.children.deployment import canary_of
from redisqueue_operator.kubernetes_api import KubernetesApi
from redisqueue_operator.observe.cache import Store
from redisqueue_operator.scope import Scope

if TYPE_CHECKING:
    from tests.support.api_server import ApiServer


@pytest.mark.parametrize("which", ["stable", "canary"])
async def test_what_the_server_dropped_is_not_said_of_a_later_one_of_the_name(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """The canary's Deployment above all: the next RedisQueue may never make one."""
    cluster = Cluster(api_server)
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    rq = redis_queue("mails", worker={"handler": "a:b", "template": {"spec": {"hostnameOverride": "mail"}}})
    manifest = children(rq, default_image="example.org/worker:1", operator_version="1.0.0")[-1]
    manifest["metadata"].pop("ownerReferences")  # there is no such RedisQueue on the server
    manifest = canary_of(manifest, "mails") if which == "canary" else manifest
    key = Key("default", manifest["metadata"]["name"])
    async with KubernetesApi() as api:
        store, writer = Store(), Writer(api, instance="test")
        dependents = Dependents(api, store, writer, Scope())
        deployments = Deployments(api, store, writer, dependents)
        await deployments.apply(rq, key, manifest)
        assert deployments.outcome(rq, "").reason == "FieldsDropped"
        cluster.run("delete", "deployment", key.name)
        deployments.forget(rq.key)
        assert deployments.outcome(rq, "").reason == "Applied"
