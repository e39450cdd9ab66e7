"""The pod template of the workers: image contract, restricted security, and the user's template over it.

All credentials are files: a rotated one reaches the worker without a restart, none is in the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import identity
from redisqueue_operator.decide.children.environment import (
    HTTP_PORT,
    REDIS_DIR,
    RUN_DIR,
    TLS_DIR,
    connection_environment,
    pod_environment,
    worker_environment,
)
from redisqueue_operator.decide.children.merge import merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redisqueue_operator.api.model import Auth, Redis, RedisQueue, Source, Tls

Manifest = dict[str, Any]
USER_ID = 65532  # the user of the worker image
HANDLER_VOLUME = "handler"


def pod_template(
    rq: RedisQueue,
    *,
    image: str,
    pull_secrets: Sequence[Manifest],
    secret_versions: Mapping[str, str],
    source_name: str | None,
) -> Manifest:
    """The whole template. Its annotation `redisqueue.dev/config-hash` is the hash of all the rest of it."""
    volumes, mounts = volumes_and_mounts(rq, source_name)
    annotations = dict(identity.KEEPS_NODE) if rq.spec.worker.protect == "Always" else {}
    # Passwords and certificates are read at each connect; only the URL is read once, at the start.
    url_from = rq.spec.redis.url_from
    if url_from and (version := secret_versions.get(url_from.secret_key_ref.name)):
        annotations[identity.URL_VERSION] = version
    generated = {
        "metadata": {"annotations": annotations},
        "spec": {
            **_pod_spec(rq, pull_secrets),
            "containers": [_container(rq, image, mounts)],
            "volumes": volumes,
        },
    }
    result: Manifest = merged(generated, rq.spec.worker.template)
    # After the merge: the selector must match, and the hash must cover what the user added.
    metadata = result["metadata"]
    labels = {**metadata.get("labels", {}), **identity.labels(rq.key.name)}
    return hashed({**result, "metadata": {**metadata, "labels": labels}})


def hashed(template: Manifest) -> Manifest:
    """The template with the hash of all the rest of it."""
    metadata = template["metadata"]
    others = {name: text for name, text in metadata["annotations"].items() if name != identity.CONFIG_HASH}
    rest = {**template, "metadata": {**metadata, "annotations": others}}
    marked = {**others, identity.CONFIG_HASH: identity.digest(rest)}
    return {**rest, "metadata": {**rest["metadata"], "annotations": marked}}


def _pod_spec(rq: RedisQueue, pull_secrets: Sequence[Manifest]) -> Manifest:
    worker = rq.spec.worker
    spec: Manifest = {
        "automountServiceAccountToken": False,
        # Without it, a Service called redisqueue-… would put REDISQUEUE_… variables into the environment.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": rq.spec.drain.grace_period_seconds,
    }
    if worker.service_account_name:
        spec["serviceAccountName"] = worker.service_account_name
    if pull_secrets:
        spec["imagePullSecrets"] = list(pull_secrets)
    return spec


def _container(rq: RedisQueue, image: str, mounts: list[Manifest]) -> Manifest:
    worker = rq.spec.worker
    plain = worker_environment(rq) | connection_environment(rq)
    variables = [{"name": name, "value": value} for name, value in plain.items()]
    container: Manifest = {
        "name": identity.WORKER_CONTAINER,
        "image": image,
        "env": [*variables, *pod_environment(rq), *worker.env],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    optional = {
        "imagePullPolicy": worker.image_pull_policy,
        "envFrom": list(worker.env_from),
        "resources": worker.resources,
        "command": list(worker.command),
        "args": list(worker.args),
    }
    container |= {name: value for name, value in optional.items() if value}
    # A program of the user's own has none of the image's commands and need not serve probes.
    return container if worker.command else container | _image_contract()


def _image_contract() -> Manifest:
    """Ports, probes and the drain, as the worker image offers them."""

    def probe(path: str, **timing: int) -> Manifest:
        return {"httpGet": {"path": path, "port": "http"}, **timing}

    return {
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        # Five minutes for the handler's imports; asked often, because a queue waits for this worker.
        "startupProbe": probe("/readyz", periodSeconds=1, timeoutSeconds=1, failureThreshold=300),
        "readinessProbe": probe("/readyz", periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        # A worker whose loops stand still cannot drain: it gets 15 s, not the whole grace period.
        "livenessProbe": probe(
            "/livez", periodSeconds=10, timeoutSeconds=5, failureThreshold=6, terminationGracePeriodSeconds=15
        ),
        "lifecycle": {"preStop": {"exec": {"command": ["redisqueue-worker", "drain"]}}},
    }


Manifests = list[dict[str, Any]]
_GROUP_READABLE = 0o440  # the pod's fsGroup reads it, nobody else


def volumes_and_mounts(rq: RedisQueue, source_name: str | None) -> tuple[Manifests, Manifests]:
    """(`volumes`, `volumeMounts`). `source_name`: the ConfigMap with the handler's files, if there is one."""
    volumes: Manifests = [
        {"name": "run", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: Manifests = [{"name": "run", "mountPath": RUN_DIR}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    if files := _handler_files(rq.spec.worker.source, source_name):
        volumes.append({"name": HANDLER_VOLUME, **files})
        mounts.append({"name": HANDLER_VOLUME, "mountPath": "/handler", "readOnly": True})
    for name, path, sources in (
        ("redis", REDIS_DIR, _credentials(rq.spec.redis)),
        ("tls", TLS_DIR, _certificates(rq.spec.redis.tls)),
    ):
        if sources:
            volumes.append({"name": name, "projected": {"defaultMode": _GROUP_READABLE, "sources": sources}})
            mounts.append({"name": name, "mountPath": path, "readOnly": True})
    return volumes, mounts


def _handler_files(source: Source | None, source_name: str | None) -> Manifest | None:
    """What the volume of the handler's files is made from, if there is one."""
    if source and source.image:
        policy = source.image.pull_policy
        image = {"reference": source.image.reference} | ({"pullPolicy": policy} if policy else {})
        return {"image": image}
    return {"configMap": {"name": source_name}} if source_name else None


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
