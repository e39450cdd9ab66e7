"""RedisQueues made from the definition's own schema: many good, many a little wrong, some mad. By a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import API_VERSION, KIND, Schema, schema

if TYPE_CHECKING:
    from random import Random

Object = dict[str, Any]

TEXTS = (
    "a",
    "b-1",
    "shop",
    "Shop",
    "a.b",
    "a b",
    " ",
    "\n",
    "a\n",
    "\x00",
    "{a}",
    "a:{b}",
    "::",
    "-",
    "=",
    "$(A)",
    "%s",
    "é",
    "日本",
    "\u202e",
    "\ud83d",
    "😀",
    "'\"",
    "../x",
    "true",
    "null",
    "1",
    "01",
    "1e3",
    "x" * 64,
    "x" * 600,
)
"""Any text field may have one of these."""
FITTING: dict[str, tuple[Any, ...]] = {
    "url": (
        "redis://redis:6379",
        "rediss://redis:6379",
        "redis://redis/2",
        "redis://app@redis:6379/0",
        "redis://[::1]:6379",
        "redis://redis:99999",
        "redis://redis:0",
        "redis://",
        "redis://re dis:6379",
        "REDIS://redis",
        "unix:///run/redis",
        "redis://redis:6379/1?a=b",
        "redis://:x@redis",
        "redis://redis:6379/99999",
        "redis://[::1",
        "redis://[fe80::1%25eth0]:6379",
        "redis://redis:",
    ),
    "handler": (
        "a:b",
        "shop.tasks:send",
        "shop.tasks",
        "a:",
        "a/b.py",
        "a:b:c",
        "é:b",
        "a..b:c",
        "class:def",
        "1:2",
    ),
    "addresses": (
        ["a:1"],
        ["a:26379", "b:26379"],
        ["[::1]:26379"],
        ["a:99999"],
        ["a:0"],
        ["a:1", "a:1"],
        ["::1:1"],
    ),
    "requests": (
        {"cpu": "100m", "memory": "1Gi"},
        {"cpu": 1},
        {"memory": "1e3"},
        {"x": "-1"},
        {"cpu": "+.5"},
        {"": 0},
    ),
    "maxUnavailable": (1, 2, "10%", "100%", "0%", "x", 0, 1000, "1", "%", "9999"),
}
FITTING["limits"] = FITTING["requests"]
_QUANTITIES = ("requests", "limits")
POD_FIELDS = (
    "env",
    "envFrom",
    "volumes",
    "volumeMounts",
    "securityContext",
    "initContainers",
    "containers",
    "affinity",
    "tolerations",
    "nodeSelector",
    "resources",
    "ports",
    "args",
    "command",
    "lifecycle",
    "livenessProbe",
    "name",
    "readinessProbe",
    "image",
    "imagePullSecrets",
    "topologySpreadConstraints",
    "restartPolicy",
    "hostNetwork",
)
"""What `worker.template` lets through unlooked at."""


def odd_redisqueue(random: Random) -> Object:
    """One more; the more of its values are odd, the rarer it is."""
    oddness = random.choice((0.0, 0.0, 0.002, 0.02, 0.2))
    fullness = random.choice((0.02, 0.1, 0.3))
    spec = _of(random, schema()["properties"]["spec"], "spec", oddness, fullness)
    if random.random() < 0.8:
        _tidy(spec)
    name = "emails" if random.random() > oddness else random.choice(TEXTS)
    made = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }
    return made if isinstance(spec, dict) else {**made, "metadata": {"name": name}}


def _tidy(spec: Any) -> None:
    """Take out what never goes together, else hardly any would be good."""
    redis, worker = (
        (spec.get(name) for name in ("redis", "worker")) if isinstance(spec, dict) else (None, None)
    )
    if isinstance(redis, dict) and "url" in redis:
        redis.pop("urlFrom", None)
        if redis.get("mode") != "Sentinel":
            redis.pop("sentinel", None)
        elif "sentinel" not in redis:
            redis.pop("mode")
        if "tls" in redis:
            redis["url"] = "rediss://redis:6380"
        if redis.get("mode") == "Cluster":
            spec["queue"] = {"name": "{shop}"}
            redis.pop("database", None)
    if isinstance(worker, dict) and "handler" in worker:
        for name in ("command", "args"):
            worker.pop(name, None)


def anything(random: Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kinds = (_text, _number, lambda _: None, lambda r: r.random() < 0.5)
    roll = random.random()
    if depth and roll < 0.2:
        return [anything(random, depth - 1) for _ in range(random.randrange(4))]
    if depth and roll < 0.5:
        names = random.choices((*POD_FIELDS, *TEXTS[:4]), k=random.randrange(4))
        return {name: anything(random, depth - 1) for name in names}
    return random.choice(kinds)(random)


def _text(random: Random) -> str:
    return random.choice(TEXTS)


def _number(random: Random) -> float:
    return random.choice((0, 1, -1, 2, 7, 1.0, 0.5, 1e300, -0.0, 2**31, 2**63, 10**30))


def _of(random: Random, part: Schema, name: str, oddness: float, fullness: float) -> Any:
    if random.random() < oddness:
        return anything(random)
    if name in FITTING and (name not in _QUANTITIES or "additionalProperties" in part):
        fitting = FITTING[name]
        return fitting[0] if random.random() < 0.8 else random.choice(fitting)
    if "enum" in part:
        return random.choice(part["enum"])
    return _MAKERS[part.get("type", "")](random, part, name, oddness, fullness)


def _object(random: Random, part: Schema, _: str, oddness: float, fullness: float) -> Object:
    needed, made = part.get("required", ()), {}
    properties: dict[str, Schema] = part.get("properties", {})
    for name, inner in properties.items():
        # Without these two hardly any would be good.
        usual = name in ("url", "handler")
        if name in needed or random.random() < (0.97 if usual else fullness):
            made[name] = _of(random, inner, name, oddness, fullness)
    if "additionalProperties" in part:
        for _ in range(random.randrange(3)):
            made[_text(random)] = _of(random, part["additionalProperties"], "", oddness, fullness)
    if part.get("x-kubernetes-preserve-unknown-fields"):
        for _ in range(random.randrange(3)):
            made[random.choice(POD_FIELDS)] = anything(random)
    if random.random() < oddness:
        made[_text(random)] = anything(random)
    return made


def _array(random: Random, part: Schema, name: str, oddness: float, fullness: float) -> list[Any]:
    least, most = part.get("minItems", 0), part.get("maxItems", 4)
    number = most + 1 if random.random() < oddness else random.randint(least, max(least, min(most, 3)))
    return [_of(random, part["items"], name, oddness, fullness) for _ in range(number)]


def _string(random: Random, part: Schema, *_: Any) -> str:
    return (
        _text(random)
        if random.random() < 0.3
        else random.choice(("a", "b-1", "shop")) + str(random.randrange(9))
    )


def _bounded(random: Random, part: Schema, *_: Any) -> float:
    least, most = part.get("minimum", 0), part.get("maximum", 1000)
    return random.choice((least, most, least + 1, min(most, 60), min(most, 10), random.randint(least, most)))


_MAKERS: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _bounded,
    "number": _bounded,
    "boolean": lambda random, *_: random.random() < 0.5,
    "": lambda random, *_: anything(random),
}
