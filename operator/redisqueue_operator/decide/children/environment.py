"""RedisQueue → the environment of its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.model import KeyLimits

if TYPE_CHECKING:
    from redisqueue_operator.api.model import QueueLimits, RedisQueue

RUN_DIR = "/run/redisqueue"
HTTP_PORT = 8080
REDIS_DIR = "/etc/redisqueue/redis"
TLS_DIR = "/etc/redisqueue/tls"


def worker_environment(rq: RedisQueue) -> dict[str, str]:
    """What a worker is told about queue, handler and drain, wherever it runs."""
    queue, worker, drain = rq.spec.queue, rq.spec.worker, rq.spec.drain
    return _present(
        {
            "REDISQUEUE_HANDLER": worker.handler,
            "REDISQUEUE_QUEUE": queue.name,
            "REDISQUEUE_KEY_SEPARATOR": queue.key_separator,
            "REDISQUEUE_VISIBILITY_TIMEOUT_SECONDS": queue.visibility_timeout_seconds,
            "REDISQUEUE_HEARTBEAT_SECONDS": queue.heartbeat_seconds,
            "REDISQUEUE_MAX_DELIVERY_COUNT": queue.max_delivery_count,
            "REDISQUEUE_KEEP_COMPLETED": queue.keep_completed,
            "REDISQUEUE_KEEP_FAILED": queue.keep_failed,
            "REDISQUEUE_MAX_IN_FLIGHT_SECONDS": queue.max_in_flight_seconds,
            **_limits(queue.limits),
            "REDISQUEUE_CONCURRENCY": worker.concurrency,
            "REDISQUEUE_HANDLER_TIMEOUT_SECONDS": worker.handler_timeout_seconds,
            "REDISQUEUE_MAX_ATTEMPTS": worker.retry.max_attempts,
            "REDISQUEUE_RESULTS_TTL_SECONDS": worker.results.ttl_seconds or None,
            "REDISQUEUE_DRAIN_TIMEOUT_SECONDS": drain.timeout_seconds,
            "REDISQUEUE_GRACE_PERIOD_SECONDS": drain.grace_period_seconds,
            "REDISQUEUE_ON_DRAIN_TIMEOUT": drain.on_timeout,
        }
    )


def _limits(limits: QueueLimits | None) -> dict[str, float | None]:
    if limits is None:
        return {}
    of_each = limits.per_key or KeyLimits()
    return {
        "REDISQUEUE_RATE_PER_SECOND": limits.rate_per_second,
        "REDISQUEUE_RATE_BURST": limits.rate_burst,
        "REDISQUEUE_MAX_IN_FLIGHT": limits.max_in_flight,
        "REDISQUEUE_KEY_RATE_PER_SECOND": of_each.rate_per_second,
        "REDISQUEUE_KEY_RATE_BURST": of_each.rate_burst,
        "REDISQUEUE_KEY_MAX_IN_FLIGHT": of_each.max_in_flight,
    }


def connection_environment(rq: RedisQueue) -> dict[str, str]:
    """How a pod reaches Redis: addresses in plain, credentials as paths of files (see volumes.py)."""
    redis, sentinel, tls = rq.spec.redis, rq.spec.redis.sentinel, rq.spec.redis.tls
    auth, sentinel_auth = redis.auth, sentinel.auth if sentinel else None
    cert = tls.cert_from if tls else None
    return _present(
        {
            "REDISQUEUE_REDIS_URL": redis.url,
            "REDISQUEUE_REDIS_URL_FILE": redis.url_from and f"{REDIS_DIR}/url",
            "REDISQUEUE_REDIS_MODE": redis.mode,
            "REDISQUEUE_REDIS_DATABASE": redis.database,
            "REDISQUEUE_REDIS_USERNAME_FILE": auth
            and auth.secret_ref.username_key
            and f"{REDIS_DIR}/username",
            "REDISQUEUE_REDIS_PASSWORD_FILE": auth and f"{REDIS_DIR}/password",
            "REDISQUEUE_SENTINEL_MASTER": sentinel and sentinel.master_name,
            "REDISQUEUE_SENTINEL_ADDRESSES": sentinel and ",".join(sentinel.addresses),
            "REDISQUEUE_SENTINEL_USERNAME_FILE": sentinel_auth
            and sentinel_auth.secret_ref.username_key
            and f"{REDIS_DIR}/sentinel-username",
            "REDISQUEUE_SENTINEL_PASSWORD_FILE": sentinel_auth and f"{REDIS_DIR}/sentinel-password",
            "REDISQUEUE_TLS_CA_FILE": tls and tls.ca_from and f"{TLS_DIR}/ca.crt",
            "REDISQUEUE_TLS_CERT_FILE": cert and f"{TLS_DIR}/tls.crt",
            "REDISQUEUE_TLS_KEY_FILE": cert and f"{TLS_DIR}/tls.key",
            "REDISQUEUE_TLS_SERVER_NAME": tls and tls.server_name,
        }
    )


def pod_environment(rq: RedisQueue) -> list[dict[str, Any]]:
    """What only the pod itself knows, and where it keeps its socket and serves its probes."""
    return [
        {"name": "REDISQUEUE_WORKER_ID", "valueFrom": _field("metadata.name")},
        {"name": "REDISQUEUE_POD_UID", "valueFrom": _field("metadata.uid")},
        {"name": "REDISQUEUE_OWNER_UID", "value": rq.uid},
        {
            "name": "REDISQUEUE_CONFIG_HASH",
            "valueFrom": _field("metadata.annotations['redisqueue.dev/config-hash']"),
        },
        {"name": "REDISQUEUE_HTTP_PORT", "value": str(HTTP_PORT)},
        {"name": "REDISQUEUE_RUN_DIR", "value": RUN_DIR},
    ]


def _field(path: str) -> dict[str, Any]:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def _present(values: dict[str, Any]) -> dict[str, str]:
    """Without what is not set; 30.0 as 30."""
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    return {name: str(value) for name, value in shown.items() if value is not None and value != ""}
