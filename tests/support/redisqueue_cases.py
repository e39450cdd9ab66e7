"""RedisQueues that must be refused, and the field that the refusal has to name.

The same table is judged offline (tests/unit/api) and by a real API server (tests/operator), so that the two
verdicts cannot part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
SAMPLES = Path(__file__).parents[2] / "crds" / "samples"

SMALL_REDIS: Object = {"url": "redis://redis:6379"}
SMALL_WORKER: Object = {"handler": "tasks:handle"}


def redis_queue(name: str = "emails", **spec: Any) -> Object:
    """The smallest good RedisQueue, with parts of its spec replaced."""
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueue",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"redis": SMALL_REDIS, "worker": SMALL_WORKER, **spec},
    }


def redrive(**spec: Any) -> Object:
    """The smallest good RedisQueueRedrive, with parts of its spec replaced."""
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueueRedrive",
        "metadata": {"name": "again", "namespace": "default"},
        "spec": {"queueRef": {"name": "emails"}, **spec},
    }


def budget(**spec: Any) -> Object:
    """The smallest good RedisQueueBudget, with parts of its spec replaced."""
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueueBudget",
        "metadata": {"name": "shared", "namespace": "default"},
        "spec": {"selector": {}, "maxReplicas": 10, **spec},
    }


def schedule(**spec: Any) -> Object:
    """The smallest good RedisQueueSchedule, with parts of its spec replaced."""
    smallest = {"schedule": "0 3 * * *", "payload": "a", "queueRef": {"name": "emails"}}
    return {
        "apiVersion": "redisqueue.dev/v1alpha1",
        "kind": "RedisQueueSchedule",
        "metadata": {"name": "nightly", "namespace": "default"},
        "spec": {name: value for name, value in {**smallest, **spec}.items() if value is not None},
    }


def redis(**fields: Any) -> Object:
    return redis_queue(redis={**SMALL_REDIS, **fields})


def worker(**fields: Any) -> Object:
    return redis_queue(worker={**SMALL_WORKER, **fields})


def sample_objects(path: Path) -> list[Object]:
    """The objects of one sample file."""
    return [item for item in yaml.load_all(path.read_text(), yaml.CSafeLoader) if item]


@dataclass(frozen=True)
class Bad:
    """An object, and the field that its refusal must name; `old` is what it would replace."""

    obj: Object
    field: str
    old: Object | None = None


SECRET_URL: Object = {"secretKeyRef": {"name": "redis"}}
AT_LEAST: Object = {"behavior": "AtLeast"}

NIGHT: Object = {"start": "0 8 * * *", "end": "0 6 * * *"}


def _schedules(**fields: Any) -> Object:
    schedule = {name: value for name, value in {**NIGHT, **fields}.items() if value is not None}
    return redis_queue(scaling={"schedules": [schedule]})


BAD: dict[str, Bad] = {
    # Structure.
    "no redis": Bad(redis_queue(redis=None), "spec.redis"),
    "no worker": Bad(redis_queue(worker=None), "spec.worker"),
    "canary of everything": Bad(
        redis_queue(rollout={"strategy": "Versioned", "canaryPercent": 51}), "spec.rollout.canaryPercent"
    ),
    "canary of a program": Bad(
        redis_queue(worker={"command": ["app"], "image": "app:1"}, rollout={"strategy": "Versioned"}),
        "spec.rollout.strategy",
    ),
    "canary without company": Bad(
        redis_queue(scaling={"maxReplicas": 1}, rollout={"strategy": "Versioned"}), "spec.scaling.maxReplicas"
    ),
    "canary without a gate": Bad(
        redis_queue(rollout={"strategy": "Versioned", "holdSeconds": 0, "gate": {"minMessages": 0}}),
        "spec.rollout.gate.minMessages",
    ),
    "unknown mode": Bad(redis(mode="Replicated"), "spec.redis.mode"),
    "text for a number": Bad(worker(concurrency="2"), "spec.worker.concurrency"),
    "zero concurrency": Bad(worker(concurrency=0), "spec.worker.concurrency"),
    "too many replicas": Bad(redis_queue(scaling={"maxReplicas": 100_000}), "spec.scaling.maxReplicas"),
    "no time to drain": Bad(redis_queue(drain={"timeoutSeconds": 0}), "spec.drain.timeoutSeconds"),
    "endless drain": Bad(redis_queue(drain={"timeoutSeconds": 90_000}), "spec.drain.timeoutSeconds"),
    "unknown field": Bad(redis_queue(scaling={"maxReplica": 3}), "spec.scaling.maxReplica"),
    "Secret without name": Bad(redis(auth={"secretRef": {}}), "spec.redis.auth.secretRef.name"),
    "variable twice": Bad(worker(env=[{"name": "A"}, {"name": "A"}]), "spec.worker.env[1]"),
    "image with a blank": Bad(worker(image="my worker:1"), "spec.worker.image"),
    "no such quantity": Bad(
        worker(resources={"limits": {"memory": "much"}}), "spec.worker.resources.limits.memory"
    ),
    "Sentinel without addresses": Bad(
        redis(mode="Sentinel", sentinel={"masterName": "m"}), "spec.redis.sentinel.addresses"
    ),
    "Sentinel without port": Bad(
        redis(mode="Sentinel", sentinel={"masterName": "m", "addresses": ["host"]}),
        "spec.redis.sentinel.addresses[0]",
    ),
    "container without name": Bad(
        worker(template={"spec": {"containers": [{"image": "a"}]}}),
        "spec.worker.template.spec.containers[0].name",
    ),
    # How to reach Redis.
    "url twice": Bad(redis(urlFrom=SECRET_URL), "spec.redis.url"),
    "no url": Bad(redis_queue(redis={}), "spec.redis.url"),
    "url of another kind": Bad(redis(url="http://redis:6379"), "spec.redis.url"),
    "url without host": Bad(redis(url="redis://:6379"), "spec.redis.url"),
    "url with a name for a database": Bad(redis(url="redis://redis:6379/main"), "spec.redis.url"),
    "port beyond any": Bad(redis(url="redis://redis:99999"), "spec.redis.url"),
    "port just beyond any": Bad(redis(url="rediss://app@[::1]:65536/0"), "spec.redis.url"),
    "port 0": Bad(redis(url="redis://redis:0/1"), "spec.redis.url"),
    "sentinel at port 0": Bad(
        redis(mode="Sentinel", sentinel={"masterName": "m", "addresses": ["a:26379", "b:0"]}),
        "spec.redis.sentinel",
    ),
    "sentinel at a port beyond any": Bad(
        redis(mode="Sentinel", sentinel={"masterName": "m", "addresses": ["a:65536"]}), "spec.redis.sentinel"
    ),
    "password": Bad(redis(url="redis://:hunter2@redis:6379"), "spec.redis.url"),
    "user and password": Bad(redis(url="redis://app:hunter2@redis:6379/0"), "spec.redis.url"),
    "password with an @": Bad(redis(url="redis://app:p@ss@redis:6379/0"), "spec.redis.url"),
    "password with a slash": Bad(redis(url="redis://app:p/ss@redis:6379/0"), "spec.redis.url"),
    "password as an option": Bad(redis(url="redis://redis:6379/0?password=hunter2"), "spec.redis.url"),
    "database twice": Bad(redis(url="redis://redis:6379/2", database=2), "spec.redis.database"),
    "user twice": Bad(
        redis(url="redis://app@redis:6379", auth={"secretRef": {"name": "a", "usernameKey": "u"}}),
        "spec.redis.auth",
    ),
    "TLS without TLS": Bad(redis(tls={"serverName": "redis"}), "spec.redis.tls"),
    "two CAs": Bad(
        redis(
            url="rediss://redis:6379",
            tls={"caFrom": {"secretKeyRef": {"name": "a"}, "configMapKeyRef": {"name": "a"}}},
        ),
        "spec.redis.tls.caFrom",
    ),
    "Sentinel without master": Bad(redis(mode="Sentinel"), "spec.redis.sentinel.masterName"),
    "master without Sentinel": Bad(
        redis(sentinel={"masterName": "m", "addresses": ["a:1"]}), "spec.redis.sentinel"
    ),
    "Cluster with default name": Bad(redis(mode="Cluster"), "spec.queue.name"),
    "Cluster without hash tag": Bad(
        redis_queue(redis={**SMALL_REDIS, "mode": "Cluster"}, queue={"name": "emails"}), "spec.queue.name"
    ),
    "Cluster with an empty first hash tag": Bad(
        redis_queue(redis={**SMALL_REDIS, "mode": "Cluster"}, queue={"name": "{}{emails}"}), "spec.queue.name"
    ),
    "Cluster with database": Bad(
        redis_queue(redis={**SMALL_REDIS, "mode": "Cluster", "database": 1}, queue={"name": "{a}"}),
        "spec.redis.database",
    ),
    "Cluster with one server name": Bad(
        redis_queue(
            redis={"url": "rediss://redis:6379", "mode": "Cluster", "tls": {"serverName": "redis"}},
            queue={"name": "{a}"},
        ),
        "spec.redis.tls.serverName",
    ),
    "Cluster with database in url": Bad(
        redis_queue(redis={"url": "redis://redis:6379/1", "mode": "Cluster"}, queue={"name": "{a}"}),
        "spec.redis.url",
    ),
    # The queue.
    "name with separator": Bad(redis_queue(queue={"name": "a::b"}), "spec.queue.name"),
    "default name with separator": Bad(
        redis_queue(name="two-words", queue={"keySeparator": "-"}), "spec.queue.keySeparator"
    ),
    "blank name": Bad(redis_queue(queue={"name": "  "}), "spec.queue.name"),
    "blank separator": Bad(redis_queue(queue={"keySeparator": " "}), "spec.queue.keySeparator"),
    "slow heartbeat": Bad(
        redis_queue(queue={"visibilityTimeoutSeconds": 10, "heartbeatSeconds": 5}),
        "spec.queue.heartbeatSeconds",
    ),
    "renamed": Bad(redis_queue(queue={"name": "b"}), "spec.queue.name", redis_queue(queue={"name": "a"})),
    "renamed from the default": Bad(redis_queue(queue={"name": "b"}), "spec.queue.name", redis_queue()),
    "renamed to the default": Bad(redis_queue(), "spec.queue.name", redis_queue(queue={"name": "a"})),
    "other separator": Bad(
        redis_queue(queue={"keySeparator": "/"}), "spec.queue.keySeparator", redis_queue()
    ),
    "burst without a rate": Bad(
        redis_queue(queue={"limits": {"rateBurst": 5}}), "spec.queue.limits.rateBurst"
    ),
    "burst that takes a month": Bad(
        redis_queue(queue={"limits": {"perKey": {"ratePerSecond": 0.001, "rateBurst": 5000}}}),
        "spec.queue.limits.perKey.rateBurst",
    ),
    "no rate": Bad(redis_queue(queue={"limits": {"ratePerSecond": 0}}), "spec.queue.limits.ratePerSecond"),
    # The worker.
    "handler and command": Bad(worker(command=["run"], image="a"), "spec.worker.handler"),
    "neither handler nor command": Bad(redis_queue(worker={}), "spec.worker.handler"),
    "handler without function": Bad(worker(handler="tasks:"), "spec.worker.handler"),
    "handler that is a file": Bad(worker(handler="app/tasks.py"), "spec.worker.handler"),
    "handler of two functions": Bad(worker(handler="tasks:one:two"), "spec.worker.handler"),
    "command in our image": Bad(redis_queue(worker={"command": ["run"]}), "spec.worker.image"),
    "arguments of a handler": Bad(worker(args=["--fast"]), "spec.worker.args"),
    "source of a command": Bad(
        redis_queue(worker={"command": ["run"], "image": "a", "source": {"configMapRef": {"name": "files"}}}),
        "spec.worker.source",
    ),
    "no source": Bad(worker(source={}), "spec.worker.source"),
    "two sources": Bad(
        worker(source={"configMapRef": {"name": "files"}, "image": {"reference": "a:1"}}),
        "spec.worker.source",
    ),
    "image of files with a scheme": Bad(
        worker(source={"image": {"reference": "oci://registry.example.com/files:1"}}),
        "spec.worker.source.image.reference",
    ),
    "image of files in capitals": Bad(
        worker(source={"image": {"reference": "registry.example.com/Files"}}),
        "spec.worker.source.image.reference",
    ),
    "image of files with half a digest": Bad(
        worker(source={"image": {"reference": "files@sha256"}}), "spec.worker.source.image.reference"
    ),
    "image of files in two words": Bad(
        worker(source={"image": {"reference": "files :1"}}), "spec.worker.source.image.reference"
    ),
    "image of files without a place": Bad(
        worker(source={"image": {"pullPolicy": "Always"}}), "spec.worker.source.image.reference"
    ),
    "image of files that is pulled sometimes": Bad(
        worker(source={"image": {"reference": "files", "pullPolicy": "Sometimes"}}),
        "spec.worker.source.image.pullPolicy",
    ),
    "more attempts than deliveries": Bad(
        redis_queue(queue={"maxDeliveryCount": 2}), "spec.worker.retry.maxAttempts"
    ),
    "times out after it hangs": Bad(
        redis_queue(worker={**SMALL_WORKER, "handlerTimeoutSeconds": 60}, queue={"maxInFlightSeconds": 30}),
        "spec.worker.handlerTimeoutSeconds",
    ),
    "variable of the operator": Bad(
        worker(env=[{"name": "REDISQUEUE_QUEUE", "value": "other"}]), "spec.worker.env[0].name"
    ),
    "variable with two values": Bad(
        worker(env=[{"name": "A", "value": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        "spec.worker.env[0]",
    ),
    "own grace period": Bad(
        worker(template={"spec": {"terminationGracePeriodSeconds": 30}}),
        "spec.worker.template.spec.terminationGracePeriodSeconds",
    ),
    "runs once": Bad(
        worker(template={"spec": {"restartPolicy": "Never"}}), "spec.worker.template.spec.restartPolicy"
    ),
    # Scaling and the rest.
    "min above max": Bad(
        redis_queue(scaling={"minReplicas": 5, "maxReplicas": 2}), "spec.scaling.minReplicas"
    ),
    "min above the default max": Bad(redis_queue(scaling={"minReplicas": 11}), "spec.scaling.minReplicas"),
    "replicas above max": Bad(redis_queue(replicas=11), "spec.replicas"),
    "schedule without numbers": Bad(_schedules(), "spec.scaling.schedules[0]"),
    "schedule without an end": Bad(_schedules(minReplicas=1, end=None), "spec.scaling.schedules[0].end"),
    "schedule that never opens": Bad(
        _schedules(minReplicas=1, end="0 8 * * *"), "spec.scaling.schedules[0].end"
    ),
    "schedule of three fields": Bad(
        _schedules(minReplicas=1, start="0 8 *"), "spec.scaling.schedules[0].start"
    ),
    "schedule with an end of seven fields": Bad(
        _schedules(minReplicas=1, end="0 0 18 * * * 2026"), "spec.scaling.schedules[0].end"
    ),
    "schedule above its max": Bad(
        _schedules(minReplicas=3, maxReplicas=2), "spec.scaling.schedules[0].minReplicas"
    ),
    "schedule above max": Bad(_schedules(minReplicas=11), "spec.scaling.schedules"),
    "schedule in no zone": Bad(
        _schedules(minReplicas=1, timeZone="+02:00"), "spec.scaling.schedules[0].timeZone"
    ),
    "schedule for one canary": Bad(
        redis_queue(scaling={"schedules": [{**NIGHT, "maxReplicas": 1}]}, rollout={"strategy": "Versioned"}),
        "spec.scaling.schedules",
    ),
    "fallback to nothing": Bad(redis_queue(scaling={"fallback": AT_LEAST}), "spec.scaling.fallback.replicas"),
    "fallback that is not read": Bad(
        redis_queue(scaling={"fallback": {"replicas": 2}}), "spec.scaling.fallback.replicas"
    ),
    "fallback above max": Bad(
        redis_queue(scaling={"fallback": {**AT_LEAST, "replicas": 11}}), "spec.scaling.fallback.replicas"
    ),
    "deadline before the drain ends": Bad(
        redis_queue(deletionPolicy="Drain", deletionDeadlineSeconds=60), "spec.deletionDeadlineSeconds"
    ),
    "name too long": Bad(redis_queue(name="a" * 57), "metadata.name"),
    "name with a dot": Bad(redis_queue(name="shop.emails"), "metadata.name"),
    "name in capitals": Bad(redis_queue(name="Emails"), "metadata.name"),
    # RedisQueueBudget.
    "budget of nobody": Bad(budget(selector=None), "spec.selector"),
    "budget of nothing": Bad(budget(maxReplicas=None), "spec"),
    "budget below nothing": Bad(budget(maxReplicas=-1), "spec.maxReplicas"),
    "budget of no quantity": Bad(budget(cpu="many"), "spec.cpu"),
    "budget of a processor's memory": Bad(budget(memory="500m"), "spec.memory"),
    "budget by values that are none": Bad(
        budget(selector={"matchExpressions": [{"key": "team", "operator": "In"}]}),
        "spec.selector.matchExpressions[0].values",
    ),
    "priority beyond any": Bad(redis_queue(scaling={"priority": 1000001}), "spec.scaling.priority"),
    # RedisQueueRedrive.
    "redrive of no queue": Bad(redrive(queueRef=None), "spec.queueRef"),
    "redrive from nowhere": Bad(redrive(**{"from": "Pending"}), "spec.from"),
    "redrive of nothing": Bad(redrive(max=0), "spec.max"),
    "redrive that stands still": Bad(redrive(ratePerSecond=0), "spec.ratePerSecond"),
    "redrive with an empty match": Bad(redrive(match={}), "spec.match"),
    "redrive with a field and no value": Bad(redrive(match={"field": "type"}), "spec.match.equals"),
    "redrive with a value and no field": Bad(redrive(match={"equals": "a"}), "spec.match.field"),
    "redrive with a broken path": Bad(redrive(match={"field": "a..b", "equals": ""}), "spec.match.field"),
    "redrive of failed letters by reason": Bad(
        redrive(**{"from": "Failed"}, match={"reason": "a"}), "spec.match.reason"
    ),
    "redrive with another mind": Bad(redrive(max=2), "spec", old=redrive(max=1)),
    "redrive of a sudden for real": Bad(redrive(), "spec", old=redrive(dryRun=True)),
    # RedisQueueSchedule.
    "schedule without a payload": Bad(schedule(payload=None), "spec.payload"),
    "schedule of four fields": Bad(schedule(schedule="* * * *"), "spec.schedule"),
    "schedule that is no macro": Bad(schedule(schedule="@every 5s"), "spec.schedule"),
    "schedule with a time zone": Bad(schedule(schedule="TZ=UTC 0 3 * * *"), "spec.schedule"),
    "schedule of no queue": Bad(schedule(queueRef=None), "spec"),
    "schedule of two queues": Bad(schedule(redis=SMALL_REDIS, queue={"name": "a"}), "spec"),
    "schedule of a queue without a name": Bad(schedule(queueRef=None, redis=SMALL_REDIS), "spec.queue"),
    "schedule with a queue and no redis": Bad(schedule(queue={"name": "a"}), "spec.queue"),
    "schedule of a blank queue": Bad(
        schedule(queueRef=None, redis=SMALL_REDIS, queue={"name": " "}), "spec.queue.name"
    ),
    "schedule of a queue with a separator": Bad(
        schedule(queueRef=None, redis=SMALL_REDIS, queue={"name": "a::b"}), "spec.queue.name"
    ),
    "schedule of a cluster's queue": Bad(
        schedule(queueRef=None, redis={**SMALL_REDIS, "mode": "Cluster"}, queue={"name": "a"}),
        "spec.queue.name",
    ),
    "schedule with a password": Bad(
        schedule(queueRef=None, redis={"url": "redis://:secret@redis"}, queue={"name": "a"}), "spec.redis.url"
    ),
    "schedule without any patience": Bad(schedule(startingDeadlineSeconds=0), "spec.startingDeadlineSeconds"),
    "schedule with half of the ticks": Bad(schedule(missedTicks="Some"), "spec.missedTicks"),
}

GOOD: dict[str, Object] = {
    "smallest": redis_queue(),
    "handler that is a module": worker(handler="shop.tasks"),
    "handler that is a module of one letter": worker(handler="t"),
    "longest name": redis_queue(name="a" * 56),
    "user in url": redis(url="redis://app@redis:6379/3"),
    "the last port": redis(url="redis://app@redis:65535/3"),
    "a port with a zero before it": redis(url="redis://redis:06379"),
    "sentinels at the first and the last port": redis(
        mode="Sentinel", sentinel={"masterName": "m", "addresses": ["a:1", "[::1]:65535"]}
    ),
    "address in version 6": redis(url="redis://[::1]:6379/3"),
    "nulls are left out": redis_queue(scaling=None, replicas=None, queue={"name": None}),
    "heartbeat just below half": redis_queue(queue={"visibilityTimeoutSeconds": 11, "heartbeatSeconds": 5}),
    "hash tag inside": redis_queue(
        redis={**SMALL_REDIS, "mode": "Cluster", "database": 0}, queue={"name": "shop:{emails}"}
    ),
    "unknown fields in the template": worker(
        template={"spec": {"runtimeClassName": "gvisor", "new": {"a": 1}}}
    ),
    "image of files": worker(source={"image": {"reference": "files"}}),
    "image of files by tag": worker(source={"image": {"reference": "localhost:5000/a/b_c-d/files:V1.2-rc"}}),
    "image of files by digest": worker(
        source={"image": {"reference": f"REG.example.com/files:1@sha256:{'0f' * 32}", "pullPolicy": "Never"}}
    ),
    "image of files at an address": worker(source={"image": {"reference": "[::1]:5000/files:1"}}),
    "number as quantity": worker(resources={"limits": {"cpu": 2, "memory": "1.5Gi"}}),
    "off": redis_queue(scaling={"maxReplicas": 0}),
    "budget": budget(),
    "budget of everything": budget(
        cpu="1.5",
        memory="8Gi",
        selector={
            "matchLabels": {"team": "shop"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["free"]},
                {"key": "legacy", "operator": "DoesNotExist"},
            ],
        },
    ),
    "priority": redis_queue(scaling={"priority": -5}),
    "redrive": redrive(),
    "redrive by reason": redrive(match={"reason": "Timeout|Refused"}),
    "redrive with all": redrive(
        **{"from": "Failed"},
        max=10,
        ratePerSecond=0.5,
        match={"pattern": "[a-z]+", "field": "order.country", "equals": ""},
        dryRun=True,
        ttlSecondsAfterFinished=0,
    ),
    "schedule": schedule(),
    "schedule by seconds": schedule(schedule=" */2  * * * * MON-FRI", payload={"a": [1, None]}),
    "schedule by a macro": schedule(schedule="@daily", payload=[1, 2.5, True]),
    "schedule with all": schedule(
        timeZone="Europe/Berlin",
        jitterSeconds=60,
        startingDeadlineSeconds=60,
        missedTicks="All",
        suspend=True,
        queueRef=None,
        redis={**SMALL_REDIS, "mode": "Cluster"},
        queue={"name": "{a}", "keySeparator": ":"},
    ),
    "own variable": worker(env=[{"name": "REDISQUEUE_HANDLER_PATH", "value": "/app"}]),
}
