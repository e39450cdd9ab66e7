"""A host without a dot is a Service of the RedisQueue's own namespace, for the operator and its workers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import redis
from tests.e2e.conftest import NAMESPACE, TENANT
from tests.support.cluster import wait_until
from tests.support.service_to_host import service_to_host
from tests.support.story import Story

from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Cluster

NAME, URL = "one-name", "redis://redis:6379/0"


@pytest.fixture
def wrong(installed: Cluster, redis_host: str) -> Iterator[redis.Redis]:
    """The Redis behind the Service `redis` of the operator's namespace."""
    arguments = ("--bind", "127.0.0.1", redis_host, "--protected-mode", "no")
    with EmbeddedRedis(arguments=arguments) as server, redis.Redis(port=server.port) as client:
        installed.apply(*service_to_host(NAMESPACE, "redis", redis_host, server.port))
        yield client
        installed.kubectl("-n", NAMESPACE, "delete", "service/redis", "endpointslice/redis")


@pytest.fixture
def story(
    installed: Cluster, wrong: redis.Redis, redis_on_host: EmbeddedRedis, redis_host: str
) -> Iterator[Story]:
    """In the tenant's namespace, whose Service `redis` is another one."""
    installed.apply(*service_to_host(TENANT, "redis", redis_host, redis_on_host.port))
    with redis.Redis(port=redis_on_host.port) as client:
        yield Story(installed, TENANT, NAME, client, URL)
        client.flushdb()
    installed.kubectl("-n", TENANT, "delete", "rq", NAME, "--ignore-not-found", "--timeout=60s")
    installed.kubectl("-n", TENANT, "delete", "service/redis", "endpointslice/redis")


def in_secret(story: Story) -> dict[str, Any]:
    """The same URL in a Secret."""
    metadata = {"name": "redis-url", "namespace": TENANT}
    data = {"url": base64.b64encode(URL.encode()).decode()}
    story.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    return {"url": None, "urlFrom": {"secretKeyRef": {"name": "redis-url", "key": "url"}}}


@pytest.mark.parametrize("place", ["url", "secret"])
def test_of_two_services_of_one_name_the_queues_own_is_meant(
    story: Story, wrong: redis.Redis, place: str
) -> None:
    before = wrong.info("stats")["total_connections_received"]
    story.publish({"id": str(number), "seconds": 0.1} for number in range(20))
    story.apply(redis=in_secret(story) if place == "secret" else {})

    story.wait_for_ends(20, seconds=60)
    story.assert_each_once(map(str, range(20)))
    wait_until(lambda: story.condition("RedisReachable")[0] == "True", 60, "Redis is told to be reachable")
    story.wait_for_zero(60)
    assert wrong.info("stats")["total_connections_received"] == before, "the other Redis was dialled"
