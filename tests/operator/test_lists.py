"""A list in pages, from a real API server into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.operator_process import Cluster
from tests.support.redisqueue_cases import redis_queue

from redisqueue_operator import kubernetes_api
from redisqueue_operator.api import Key
from redisqueue_operator.kubernetes_api import KubernetesApi
from redisqueue_operator.observe.cache import REDISQUEUES, Store, key_of

if TYPE_CHECKING:
    import pytest
    from tests.support.api_server import ApiServer

NAMESPACE = "lists"


async def test_a_list_comes_in_pages(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    names = [f"queue-{number}" for number in range(5)]
    for name in names:
        queue = redis_queue(name)
        queue["metadata"]["namespace"] = NAMESPACE
        cluster.apply(queue)
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    monkeypatch.setattr(kubernetes_api, "PAGE", 2)
    path = REDISQUEUES.path(NAMESPACE)
    store, present, sizes, listed_at = Store(), set(), [], 0
    async with KubernetesApi() as api:
        async for items, version in api.pages(path):
            listed_at = version
            sizes.append(len(items))
            for each in items:
                present.add(key_of(each))
                store.put(REDISQUEUES, each)
    assert sizes == [2, 2, 1]
    assert present == {Key(NAMESPACE, name) for name in names}

    store.keep(REDISQUEUES, present - {Key(NAMESPACE, "queue-3")}, listed_at, NAMESPACE)
    assert len(store.keys(REDISQUEUES)) == 4, "what the list does not have is gone"
    cluster.run("delete", "rq", "--all", "-n", NAMESPACE)
