"""The pod template that all workers keep while another one is on trial or was refused, as it was applied.

The Deployment alone says so too, until somebody edits or deletes it. So a ConfigMap beside it has a copy: it
is written when a template becomes that of all workers, and the next operator finds it.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.objects import annotation_of
from redisqueue_operator.api.resources import path_of
from redisqueue_operator.decide.children.deployment import hash_of
from redisqueue_operator.decide.children.identity import OWNER_UID, belongs_to, stable_name
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object, passes

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key, RedisQueue
    from redisqueue_operator.apply.writer import Writer

log = logging.getLogger(__name__)

FRESH_SECONDS = 300.0
"""As often as everything else is listed: a copy that was deleted is made again."""
TEMPLATE = "template.json"


@dataclass(frozen=True, slots=True)
class _Copy:
    """What is known of it, for the object of that uid. `foreign`: the name is somebody else's."""

    uid: str
    read_at: float
    template: Object | None = None
    foreign: bool = False


class StableTemplates:
    """Reads and writes these copies. One that may not be written costs nothing but its use."""

    def __init__(self, api: KubernetesApi, writer: Writer) -> None:
        self._api = api
        self._writer = writer
        self._copies: dict[Key, _Copy] = {}

    async def look_up(self, rq: RedisQueue) -> None:
        """Know the copy, read now and then.

        Raises as the API does where none is known yet, but for a right that is missing.
        """
        known = self._copies.get(rq.key)
        known = known if known is not None and known.uid == rq.uid else None
        if not is_versioned(rq) or (known is not None and time.monotonic() - known.read_at < FRESH_SECONDS):
            return
        path = path_of("", "v1", "configmaps", rq.key.namespace, stable_name(rq.key.name))
        try:
            found = await self._api.get(path)
        except (ApiError, OSError, TimeoutError) as error:
            if passes(error) and known is not None:
                return
            if not isinstance(error, ApiError) or error.status != 403:
                raise
            log.warning("%s: the template of all workers cannot be looked up: %s", rq.key, error)
            found = None
        foreign = found is not None and not belongs_to(found, rq)
        if foreign:
            log.warning("%s: ConfigMap %s is somebody else's", rq.key, stable_name(rq.key.name))
        self._copies[rq.key] = _Copy(rq.uid, time.monotonic(), _template_in(found, rq), foreign)

    def of(self, rq: RedisQueue) -> Object | None:
        """The template; None where there is no copy, or none of this very object."""
        known = self._copies.get(rq.key)
        return known.template if known is not None and known.uid == rq.uid and is_versioned(rq) else None

    def keeps(self, rq: RedisQueue) -> bool:
        """Whether one is kept: not where no template is tried, or the name is somebody else's."""
        known = self._copies.get(rq.key)
        return is_versioned(rq) and (known is None or not known.foreign)

    async def keep(self, rq: RedisQueue, deployment: Object) -> None:
        """Copy the template of this manifest, with which all workers go on."""
        template = deployment["spec"]["template"]
        metadata = {**deployment["metadata"], "name": stable_name(rq.key.name)}
        data = {TEMPLATE: json.dumps(template, sort_keys=True)}
        try:
            await self._writer.apply(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            )
        except ApiError as error:
            if error.status not in (400, 403, 422):
                raise
            log.warning("%s: the template of all workers is kept nowhere: %s", rq.key, error)
        self._copies[rq.key] = _Copy(rq.uid, time.monotonic(), template)

    def forget(self, key: Key) -> None:
        """There is no RedisQueue for it any more."""
        self._copies.pop(key, None)


def is_versioned(rq: RedisQueue) -> bool:
    """Whether its templates are tried."""
    return rq.spec.rollout.strategy == "Versioned"


def _template_in(config_map: Object | None, rq: RedisQueue) -> Object | None:
    if config_map is None or annotation_of(config_map, OWNER_UID) != rq.uid:
        return None
    try:
        template: Any = json.loads((config_map.get("data") or {})[TEMPLATE])
        return template if hash_of(template) else None
    except (KeyError, TypeError, ValueError):
        return None
