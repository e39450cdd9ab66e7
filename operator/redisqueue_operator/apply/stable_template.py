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
from redisqueue_operator.apply.deployments import belongs_to
from redisqueue_operator.decide.canary import Stage, Versions
from redisqueue_operator.decide.children.deployment import config_hash, hash_of
from redisqueue_operator.decide.children.identity import OPERATOR_VERSION, OWNER_UID, stable_name
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi, Object, path_of
from redisqueue_operator.observe.cache import has_rolled

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def __init__(
        self, api: KubernetesApi, writer: Writer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._writer = writer
        self._clock = clock
        self._copies: dict[Key, _Copy] = {}

    async def look_up(self, rq: RedisQueue) -> None:
        """Know the copy, read now and then. Raises as the API does, but for a right that is missing."""
        known = self._copies.get(rq.key)
        if not is_versioned(rq) or (
            known is not None and known.uid == rq.uid and self._clock() - known.read_at < FRESH_SECONDS
        ):
            return
        path = path_of("", "v1", "configmaps", rq.key.namespace, stable_name(rq.key.name))
        try:
            found = await self._api.get(path)
        except ApiError as error:
            if error.status != 403:
                raise
            log.warning("%s: the template of all workers cannot be looked up: %s", rq.key, error)
            found = None
        foreign = found is not None and not belongs_to(found, rq)
        if foreign:
            log.warning("%s: ConfigMap %s is somebody else's", rq.key, stable_name(rq.key.name))
        self._copies[rq.key] = _Copy(rq.uid, self._clock(), _template_in(found, rq), foreign)

    def of(self, rq: RedisQueue) -> Object | None:
        """The template; None where there is no copy, or none of this very object."""
        known = self._copies.get(rq.key)
        return known.template if known is not None and known.uid == rq.uid and is_versioned(rq) else None

    def versions(self, rq: RedisQueue, wanted: Object, live: Object | None, trial: Object | None) -> Versions:
        """Which templates there are. Workers whose Deployment was deleted still have the one of the copy."""
        return Versions(
            wanted=config_hash(wanted),
            stable=config_hash(live) or hash_of(self.of(rq)),
            canary=config_hash(trial),
            rolled=live is not None and has_rolled(live),
        )

    def manifest(self, rq: RedisQueue, deployment: Object, stage: Stage, live: Object | None) -> Object:
        """The manifest of the workers that are no canaries, from that of the spec and what there is."""
        if stage in (Stage.ROLL, Stage.PROMOTE):
            return deployment
        return keeping(deployment, live, self.of(rq))

    def has(self, rq: RedisQueue, deployment: Object) -> bool:
        """Whether there is nothing to write for a Deployment with this manifest."""
        known = self._copies.get(rq.key)
        if not is_versioned(rq) or (known is not None and known.foreign):
            return True
        return _text(self.of(rq)) == _text(deployment["spec"]["template"])

    async def keep(self, rq: RedisQueue, deployment: Object) -> None:
        """Copy the template of this manifest, with which all workers go on."""
        if self.has(rq, deployment):
            return
        template = deployment["spec"]["template"]
        metadata = {**deployment["metadata"], "name": stable_name(rq.key.name)}
        data = {TEMPLATE: _text(template)}
        try:
            await self._writer.apply(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            )
        except ApiError as error:
            if error.status not in (400, 403, 422):
                raise
            log.warning("%s: the template of all workers is kept nowhere: %s", rq.key, error)
        self._copies[rq.key] = _Copy(rq.uid, self._clock(), template)

    def forget(self, key: Key) -> None:
        """There is no RedisQueue for it any more."""
        self._copies.pop(key, None)


def is_versioned(rq: RedisQueue) -> bool:
    """Whether its templates are tried."""
    return rq.spec.rollout.strategy == "Versioned"


def keeping(deployment: Object, live: Object | None, kept: Object | None) -> Object:
    """The manifest of the workers that keep their template: all else of it is as the spec says now.

    Args:
        deployment: the manifest with the template of the spec.
        live: the Deployment that there is.
        kept: the copy of its template; without one that fits, what runs counts.
    """
    template, annotations = kept, dict(deployment["metadata"]["annotations"])
    if live is not None:
        if kept is None or hash_of(kept) != config_hash(live):
            template = live["spec"]["template"]
        # The operator that rolls it over one day is told apart from the one that made the template.
        written_by = annotation_of(live, OPERATOR_VERSION)
        annotations |= {OPERATOR_VERSION: written_by} if written_by else {}
    assert template is not None  # noqa: S101  (a stage that keeps a template has one)
    metadata = {**deployment["metadata"], "annotations": annotations}
    return {**deployment, "metadata": metadata, "spec": {**deployment["spec"], "template": template}}


def _template_in(config_map: Object | None, rq: RedisQueue) -> Object | None:
    if config_map is None or annotation_of(config_map, OWNER_UID) != rq.uid:
        return None
    try:
        template: Any = json.loads((config_map.get("data") or {})[TEMPLATE])
        return template if hash_of(template) else None
    except (KeyError, TypeError, ValueError):
        return None


def _text(template: Object | None) -> str:
    return json.dumps(template, sort_keys=True)
