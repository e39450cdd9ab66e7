"""Secrets and ConfigMaps that a spec names: read on first use, again after a minute, never listed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import Key
from redisqueue_operator.api.resources import path_of
from redisqueue_operator.errors import SettingsUnavailable
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object, passes

if TYPE_CHECKING:
    from collections.abc import Iterable

FRESH_SECONDS = 60.0
ABSENT_SECONDS = 5.0
UNUSED_SECONDS = 600.0


@dataclass(slots=True)
class _Entry:
    """What the API server answered the last time: the object, none, or why it may not be read."""

    obj: Object | None = None
    refused: str = ""
    read_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class References:
    """A cache of named objects; many RedisQueues that name one Secret cost one GET a minute."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._entries: dict[tuple[str, Key], _Entry] = {}
        self._swept_at = time.monotonic()

    async def secret(self, key: Key, *, fresh: bool = False) -> Object:
        """The Secret; `fresh` for one that may have been replaced just now. Raises SettingsUnavailable."""
        obj = await self._read("secrets", key, fresh)
        if obj is None:
            raise SettingsUnavailable(
                "SecretMissing", f"Secret {key.name!r} does not exist in {key.namespace}"
            )
        return obj

    async def config_map(self, key: Key) -> Object | None:
        """The ConfigMap, or None where there is none. Raises SettingsUnavailable where it may not be read."""
        return await self._read("configmaps", key, fresh=False)

    def age_seconds(self, namespace: str, secrets: Iterable[str]) -> float:
        """Since the oldest of these Secrets was read."""
        now = time.monotonic()
        known = (self._entries.get(("secrets", Key(namespace, name))) for name in secrets)
        return max((now - entry.read_at for entry in known if entry is not None), default=0.0)

    async def _read(self, plural: str, key: Key, fresh: bool) -> Object | None:
        entry = self._entries.setdefault((plural, key), _Entry())
        asked_at = time.monotonic()
        async with entry.lock:
            limit = ABSENT_SECONDS if fresh or entry.obj is None else FRESH_SECONDS
            if asked_at - entry.read_at >= limit:
                await self._ask(plural, key, entry)
            if entry.refused:
                raise SettingsUnavailable("Forbidden", entry.refused)
            return entry.obj

    async def _ask(self, plural: str, key: Key, entry: _Entry) -> None:
        try:
            entry.obj = await self._api.get(path_of("", "v1", plural, key.namespace, key.name))
            entry.refused = ""
        except (ApiError, OSError, TimeoutError) as error:
            if passes(error) and entry.obj is not None:
                return  # an API server that does not answer is no reason to forget a password
            if not isinstance(error, ApiError) or error.status != 403:
                raise
            entry.obj = None
            entry.refused = f"the operator may not read {plural} {key.name!r} in {key.namespace}: {error}"
        entry.read_at = time.monotonic()
        self._sweep(entry.read_at)

    def _sweep(self, now: float) -> None:
        """Forget what nobody has asked for in a while: queues come and go, and Secrets can be large."""
        if now - self._swept_at < FRESH_SECONDS:
            return
        self._swept_at = now
        unused = [
            name
            for name, entry in self._entries.items()
            if now - entry.read_at > UNUSED_SECONDS and not entry.lock.locked()
        ]
        for name in unused:
            del self._entries[name]


def identity_of(obj: Object) -> str:
    """What changes whenever the content may have changed, and says nothing about the content."""
    return f"{obj['metadata']['uid']}.{obj['metadata']['resourceVersion']}"
