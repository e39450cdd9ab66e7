"""What a Redis URL in a Secret may say."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.resources import redis_queue

from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.observe.redis.settings import Connections

if TYPE_CHECKING:
    from pathlib import Path

    from redisqueue_operator.api.model import Key

FROM_SECRET = {"urlFrom": {"secretKeyRef": {"name": "tenant", "key": "address"}}}


class OneSecret:
    def __init__(self, url: str) -> None:
        self._url = url

    async def secret(self, key: Key, *, fresh: bool = False) -> dict[str, Any]:
        data = {"address": base64.b64encode(self._url.encode()).decode()}
        return {"metadata": {"name": key.name, "namespace": key.namespace}, "data": data}

    async def config_map(self, key: Key) -> None: ...


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.0.0.9:6379/0?socket_timeout=3600",
        "redis://10.0.0.9?",
        "rediss://:hush@10.0.0.9:6379?ssl_cert_reqs=none",
        "redis://10.0.0.9:6379/0#note",
        "redis://:hu?sh@10.0.0.9:6379/0",
        "redis://:hu#sh@10.0.0.9:6379/0",
        "unix:///run/redis.sock?db=2",
    ],
)
async def test_options_are_refused_as_in_the_spec_and_no_password_is_told(url: str, tmp_path: Path) -> None:
    connections = Connections(OneSecret(url), tmp_path, AllowedHosts())
    with pytest.raises(SettingsUnavailable, match="key 'address' of Secret 'tenant' must not") as refused:
        await connections.settings(redis_queue("jobs", redis=FROM_SECRET))
    assert refused.value.reason == "SecretInvalid"
    assert not [part for part in ("hush", ":hu", "sh@", "3600", "10.0.0.9") if part in str(refused.value)]


async def test_a_password_may_hold_every_character(tmp_path: Path) -> None:
    connections = Connections(OneSecret("redis://:hu%3Fs%23h@10.0.0.9:6379/3"), tmp_path, AllowedHosts())
    settings = await connections.settings(redis_queue("jobs", redis=FROM_SECRET))
    client = settings.connect_async()
    options = client.connection_pool.connection_kwargs  # type: ignore[union-attr]
    assert (options["password"], options["db"]) == ("hu?s#h", 3)
