"""The volumes of a worker pod and where they are mounted.

All credentials are files: a rotated one reaches the worker without a restart, none is in the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children.environment import REDIS_DIR, RUN_DIR, TLS_DIR

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Auth, Redis, RedisQueue, Tls

Manifests = list[dict[str, Any]]
_GROUP_READABLE = 0o440  # the pod's fsGroup reads it, nobody else


def volumes_and_mounts(rq: RedisQueue, source_name: str | None) -> tuple[Manifests, Manifests]:
    """(`volumes`, `volumeMounts`). `source_name`: the ConfigMap with the handler's files, if there is one."""
    volumes: Manifests = [
        {"name": "run", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: Manifests = [{"name": "run", "mountPath": RUN_DIR}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if source_name:
        volumes.append({"name": "handler", "configMap": {"name": source_name}})
        mounts.append({"name": "handler", "mountPath": "/handler", "readOnly": True})
    for name, path, sources in (
        ("redis", REDIS_DIR, _credentials(rq.spec.redis)),
        ("tls", TLS_DIR, _certificates(rq.spec.redis.tls)),
    ):
        if sources:
            volumes.append({"name": name, "projected": {"defaultMode": _GROUP_READABLE, "sources": sources}})
            mounts.append({"name": name, "mountPath": path, "readOnly": True})
    return volumes, mounts


def _credentials(redis: Redis) -> Manifests:
    sources: Manifests = []
    if redis.url_from:
        reference = redis.url_from.secret_key_ref
        sources.append(_source("secret", reference.name, {reference.key: "url"}))
    if redis.auth:
        sources.append(_login(redis.auth, ""))
    if redis.sentinel and redis.sentinel.auth:
        sources.append(_login(redis.sentinel.auth, "sentinel-"))
    return sources


def _login(auth: Auth, prefix: str) -> dict[str, Any]:
    reference = auth.secret_ref
    files = {reference.username_key: f"{prefix}username"} if reference.username_key else {}
    return _source("secret", reference.name, {**files, reference.password_key: f"{prefix}password"})


def _certificates(tls: Tls | None) -> Manifests:
    sources: Manifests = []
    if tls and tls.ca_from:
        if secret := tls.ca_from.secret_key_ref:
            sources.append(_source("secret", secret.name, {secret.key: "ca.crt"}))
        elif config_map := tls.ca_from.config_map_key_ref:
            sources.append(_source("configMap", config_map.name, {config_map.key: "ca.crt"}))
    if tls and tls.cert_from:
        cert = tls.cert_from.secret_ref
        sources.append(_source("secret", cert.name, {cert.cert_key: "tls.crt", cert.key_key: "tls.key"}))
    return sources


def _source(kind: str, name: str, files: dict[str, str]) -> dict[str, Any]:
    return {kind: {"name": name, "items": [{"key": key, "path": path} for key, path in files.items()]}}
