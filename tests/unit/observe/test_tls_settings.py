"""The certificates of `spec.redis.tls`: what is said of a missing one, how long their files stay."""

from __future__ import annotations

import base64
import gc
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.resources import redis_queue

from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.observe.redis.settings import Connections

if TYPE_CHECKING:
    from pathlib import Path

    from redisqueue_operator.api.model import Key


class Namespace:
    """One Secret and one ConfigMap, whatever they are called."""

    def __init__(self, **data: str) -> None:
        self.data = data

    async def secret(self, key: Key, *, fresh: bool = False) -> dict[str, Any]:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in self.data.items()}
        return {"metadata": {"name": key.name}, "data": encoded}

    async def config_map(self, key: Key) -> dict[str, Any]:
        return {"metadata": {"name": key.name}, "data": self.data}


def queue(**tls: Any) -> Any:
    return redis_queue("jobs", redis={"url": "rediss://10.0.0.9:6379", "tls": tls})


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
async def test_a_key_that_is_missing_is_told_with_its_kind(kind: str, tmp_path: Path) -> None:
    reference = f"{kind[0].lower()}{kind[1:]}KeyRef"
    rq = queue(caFrom={reference: {"name": "authority", "key": "ca.crt"}})
    connections = Connections(Namespace(other="x"), tmp_path, AllowedHosts())
    with pytest.raises(SettingsUnavailable, match=rf"^{kind} 'authority' has no key 'ca\.crt'") as told:
        await connections.settings(rq)
    assert told.value.reason == f"{kind}KeyMissing"


async def test_files_go_with_the_last_settings_that_name_them(tmp_path: Path) -> None:
    rq = queue(
        caFrom={"configMapKeyRef": {"name": "authority", "key": "ca"}},
        certFrom={"secretRef": {"name": "own", "certKey": "cert", "keyKey": "key"}},
    )
    names = Namespace(ca="A", cert="B", key="C")
    connections = Connections(names, tmp_path, AllowedHosts())
    first, second = await connections.settings(rq), await connections.settings(rq)
    assert first == second, "a pool of connections is shared by those that connect alike"
    assert files_in(tmp_path) == ["A", "B", "C"]

    names.data = {"ca": "A", "cert": "B2", "key": "C2"}
    rotated = await connections.settings(rq)
    del first
    assert files_in(tmp_path) == ["A", "B", "B2", "C", "C2"], "the former ones may still be dialled with"
    del second
    assert files_in(tmp_path) == ["A", "B2", "C2"]
    assert rotated.tls_key_file is not None
    assert rotated.tls_key_file.read_text() == "C2"
    assert rotated.tls_key_file.stat().st_mode & 0o777 == 0o600
    del rotated
    assert files_in(tmp_path) == []


def files_in(folder: Path) -> list[str]:
    gc.collect()
    return sorted(path.read_text() for path in folder.iterdir())
