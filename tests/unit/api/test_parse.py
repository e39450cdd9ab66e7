"""Raw object → typed RedisQueue, with the defaults of the CRD."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest
from tests.support.redisqueue_cases import redis_queue

from redisqueue_operator import api
from redisqueue_operator.api import definition
from redisqueue_operator.api.model import Key, Manifest, Spec
from redisqueue_operator.api.parsing import camel_case


def test_the_smallest_one_gets_the_documented_defaults() -> None:
    spec = api.parse(redis_queue()).spec
    assert spec.replicas is None
    assert (spec.redis.mode, spec.redis.database) == ("Standalone", None)
    assert (spec.queue.key_separator, spec.queue.visibility_timeout_seconds) == ("::", 120)
    assert (spec.worker.concurrency, spec.worker.retry.max_attempts) == (1, 3)
    assert (spec.scaling.mode, spec.scaling.min_replicas, spec.scaling.max_replicas) == ("Auto", 0, 10)
    assert (spec.scaling.scale_down.idle_seconds, spec.scaling.fallback.behavior) == (30, "Hold")
    assert (spec.drain.timeout_seconds, spec.drain.grace_period_seconds) == (300, 315)
    assert spec.deletion_policy == "Delete"


def test_what_follows_from_other_fields() -> None:
    queue = api.parse(redis_queue(name="emails", queue={"visibilityTimeoutSeconds": 10})).spec.queue
    assert (queue.name, queue.heartbeat_seconds) == ("emails", 2.5)
    queue = api.parse(redis_queue(queue={"name": "other", "heartbeatSeconds": 7})).spec.queue
    assert (queue.name, queue.heartbeat_seconds) == ("other", 7)


def test_metadata() -> None:
    obj = redis_queue(name="emails")
    obj["metadata"] |= {
        "namespace": "shop",
        "uid": "u",
        "generation": 4,
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }
    queue = api.parse(obj)
    assert (queue.key, str(queue.key)) == (Key("shop", "emails"), "shop/emails")
    assert (queue.uid, queue.generation, queue.deletion, queue.raw) == ("u", 4, True, obj)


def test_secret_names_of_a_connection() -> None:
    redis = {
        "urlFrom": {"secretKeyRef": {"name": "b"}},
        "mode": "Sentinel",
        "sentinel": {"masterName": "m", "addresses": ["a:1"], "auth": {"secretRef": {"name": "c"}}},
        "auth": {"secretRef": {"name": "a"}},
        "tls": {"caFrom": {"secretKeyRef": {"name": "a"}}, "certFrom": {"secretRef": {"name": "d"}}},
    }
    assert api.parse(redis_queue(redis=redis)).spec.redis.secret_names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"redis": None}, "spec.redis"),
        ({"scaling": []}, "spec.scaling"),
        ({"queue": {"maxDeliveryCount": "ten"}}, "spec.queue.maxDeliveryCount"),
        ({"worker": {"concurrency": True}}, "spec.worker.concurrency"),
        ({"worker": {"command": "run"}}, "spec.worker.command"),
        ({"deletionPolicy": "Forget"}, "spec.deletionPolicy"),
    ],
)
def test_what_cannot_be_typed_is_named(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: must be"):
        api.parse(redis_queue(**spec))


def test_every_field_of_the_crd_is_in_the_model_and_the_other_way_round() -> None:
    assert _model_fields(Spec) == _schema_fields(definition.schema()["properties"]["spec"])


def _model_fields(cls: type, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for item in dataclasses.fields(cls):
        path = prefix + camel_case(item.name)
        inner = _dataclass_in(get_type_hints(cls)[item.name])
        found |= {path} if inner is None else _model_fields(inner, f"{path}.")
    return found


def _dataclass_in(hint: Any) -> type | None:
    candidates = (hint, *getattr(hint, "__args__", ()))
    return next((item for item in candidates if dataclasses.is_dataclass(item)), None)  # type: ignore[return-value]


PASSED_ON = {f"worker.{name}" for name in ("env", "envFrom", "imagePullSecrets", "resources", "template")}
"""Kubernetes' own: nothing of them is looked at."""


def _schema_fields(schema: dict[str, Any], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, part in schema["properties"].items():
        path = prefix + name
        passed_on = path in PASSED_ON
        inner = part.get("items", part)
        found |= {path} if "properties" not in inner or passed_on else _schema_fields(inner, f"{path}.")
    return found


def test_fragments_are_passed_on_as_they_are() -> None:
    template: Manifest = {"spec": {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}}
    worker = {"handler": "a:b", "template": template, "env": [{"name": "A", "value": "1"}]}
    parsed = api.parse(redis_queue(worker=worker)).spec.worker
    assert (parsed.template, parsed.env) == (template, ({"name": "A", "value": "1"},))
