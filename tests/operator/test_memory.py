"""What is remembered of children is what was written of them, and goes with their RedisQueue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.api_server import GATED
from tests.support.operator_process import Cluster
from tests.support.redisqueue_cases import redis_queue as manifest_of
from tests.support.resources import redis_queue

from redisqueue_operator.api import parse
from redisqueue_operator.api.model import Key
from redisqueue_operator.apply.dependents import Dependents
from redisqueue_operator.apply.deployments import Deployments
from redisqueue_operator.apply.writer import Writer
from redisqueue_operator.decide.children import children
from redisqueue_operator.decide.children.deployment import canary_of
from redisqueue_operator.decide.children.plan import Known, judge
from redisqueue_operator.kubernetes_api import KubernetesApi
from redisqueue_operator.kubernetes_platform import KubernetesPlatform
from redisqueue_operator.observe.cache import DEPLOYMENTS, Store
from redisqueue_operator.observe.references import References
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
    rq = redis_queue("mails", worker={"handler": "a:b", "template": {"spec": GATED}})
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


async def test_what_others_change_while_we_write_is_not_taken_for_our_work(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be left as it is for as long as nothing else changes."""
    cluster, store = Cluster(api_server), Store()
    cluster.install()
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    cluster.apply(manifest_of("raced", rollout={"strategy": "Versioned"}))
    rq = parse(cluster.get("rq", "raced") or {})

    class Raced(KubernetesApi):
        async def apply(self, path: str, manifest: dict[str, Any], manager: str) -> dict[str, Any]:
            """Somebody edits the workers before the copy of their template is written, and a watch tells."""
            if path.endswith("/raced-stable"):
                cluster.run("set", "image", "deployment/raced-worker", "worker=example.org/edited:1")
                store.put(DEPLOYMENTS, cluster.get("deployment", "raced-worker") or {})
            return await super().apply(path, manifest, manager)

    async with Raced() as api:
        nowhere: Any = None
        platform = KubernetesPlatform(
            api,
            store,
            Writer(api, instance="test"),
            References(api),
            nowhere,
            worker_image="example.org/worker:1",
            version="1.0.0",
            scope=Scope(),
        )

        async def written_and_seen() -> tuple[str, str]:
            seen = (await platform.observe(rq)).children
            writes = judge(rq, seen, None, Known(), 0.0).writes
            assert writes is not None
            written = await platform.execute(rq, writes)
            assert written is not None
            return written.live, (await platform.observe(rq)).children.live

        live, seen = await written_and_seen()
        assert live != seen, "somebody's image is taken for ours"
        live, seen = await written_and_seen()
        assert live == seen, "the template had its copy: nobody came between"
    cluster.run("delete", "rq/raced", "deployment/raced-worker")
