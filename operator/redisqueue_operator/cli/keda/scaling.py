"""What KEDA and its HorizontalPodAutoscaler are told of numbers → `spec.scaling` and `spec.replicas`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from redisqueue_operator.api.model import ScalingSchedule
from redisqueue_operator.cli.keda.fields import pruned
from redisqueue_operator.decide.scaling.schedules import never_opens, problem_of

if TYPE_CHECKING:
    from redisqueue_operator.cli.keda.fields import Fields, Object

MOST = 1000
KEDA_MAX_REPLICAS = 100
KEDA_POLLING_SECONDS = 30
PERIOD_SECONDS = 10
"""The limits of a RedisQueue on steps are for ten seconds."""
PAUSED = "autoscaling.keda.sh/"


def scaling(spec: Fields, annotations: Fields, per_slot: int | None) -> tuple[Object, int | None]:
    """`spec.scaling` and `spec.replicas`; `per_slot` is the trigger's target for one pod."""
    polling = spec.number("pollingInterval", 1)
    if polling is not None:
        spec.note(
            "pollingInterval", "not needed: an empty queue wakes its first worker at once, others are sampled"
        )
    spec.refuse(initialCooldownPeriod="left out: minReplicas holds from the start, an empty queue goes to it")
    asked = spec.number("maxReplicaCount", high=MOST)
    highest = KEDA_MAX_REPLICAS if asked is None else asked
    lowest, idle = (spec.number(name, high=highest) for name in ("minReplicaCount", "idleReplicaCount"))
    if idle is not None and lowest:
        spec.note(
            "idleReplicaCount",
            f"minReplicas is {idle}: a RedisQueue that wakes goes to as many as the work needs,"
            f" not to {lowest} at least",
        )
        lowest = idle
    result: Object = {
        "minReplicas": lowest,
        "maxReplicas": highest,
        "backlogPerSlot": per_slot,
        "scaleDown": {"idleSeconds": spec.number("cooldownPeriod", high=86400)},
        "fallback": fallback(spec.part("fallback"), polling or KEDA_POLLING_SECONDS, highest),
    }
    advanced(spec.part("advanced"), result)
    mode, replicas = paused(annotations, highest)
    if mode:
        result["mode"] = mode
    return pruned(result), replicas


def fallback(given: Fields, polling_seconds: int, highest: int) -> Object:
    """What to do while Redis cannot be read."""
    failures, replicas = given.number("failureThreshold", 1), given.number("replicas", high=highest)
    behavior = given.text("behavior") or "static"
    given.close()
    if replicas is None:
        return {}
    after = min((failures or 1) * polling_seconds, 86400)
    if behavior in ("static", "currentReplicasIfHigher"):
        if behavior == "static":
            given.note(
                "behavior", "AtLeast: a RedisQueue that cannot be read adds workers, and takes none away"
            )
        return {"behavior": "AtLeast", "replicas": replicas, "afterSeconds": after}
    if behavior != "currentReplicas":
        given.note("behavior", f"{behavior} is not known here: Hold, which keeps the number, is taken")
    return {}


def advanced(given: Fields, result: Object) -> None:
    """The HorizontalPodAutoscaler's behaviour."""
    given.refuse(
        scalingModifiers="left out: one queue decides; see drainWithinSeconds and maxMessageAgeSeconds"
    )
    if given.take("restoreToOriginalReplicaCount"):
        given.note(
            "restoreToOriginalReplicaCount", "left out: with the RedisQueue its workers go (deletionPolicy)"
        )
    autoscaler = given.part("horizontalPodAutoscalerConfig")
    autoscaler.drop("name")
    behavior = autoscaler.part("behavior")
    up, down = behavior.part("scaleUp"), behavior.part("scaleDown")
    result["scaleUp"] = {
        "stabilizationSeconds": up.number("stabilizationWindowSeconds", high=3600),
        **steps(up, {"Pods": "maxStep", "Percent": "maxPercent"}, 10000),
    }
    result["scaleDown"] |= {
        "stabilizationSeconds": down.number("stabilizationWindowSeconds", high=3600),
        **steps(down, {"Percent": "maxPercent"}, 100),
    }
    switched_off = [direction for direction in (up, down) if direction.text("selectPolicy") == "Disabled"]
    if switched_off:
        result["mode"] = {1: "DownOnly" if switched_off[0] is up else "UpOnly"}.get(
            len(switched_off), "Paused"
        )
    for part in (up, down):
        part.refuse(tolerance="left out: every whole worker counts")
    for part in (up, down, behavior, autoscaler, given):
        part.close()


def steps(direction: Fields, names: dict[str, str], most_percent: int) -> Object:
    """The limits on one step: of each kind the one that allows least in ten seconds."""
    found: dict[str, int] = {}
    for policy in direction.parts("policies"):
        kind, value = policy.text("type"), policy.number("value", 1)
        period = policy.number("periodSeconds", 1) or 15
        policy.close()
        if kind not in names or value is None:
            policy.note("type", f"{kind or 'none'} is left out: here are only {', '.join(names.values())}")
            continue
        limit = max(1, math.ceil(value * PERIOD_SECONDS / period))
        limit = min(limit, MOST if kind == "Pods" else most_percent)
        if period != PERIOD_SECONDS:
            policy.note("periodSeconds", f"{value} in {period} s became {limit} in {PERIOD_SECONDS} s")
        found[names[kind]] = min(limit, found.get(names[kind], limit))
    return dict(found)


def paused(annotations: Fields, highest: int) -> tuple[str, int | None]:
    """The mode and the fixed number that KEDA's annotations ask for."""
    replicas = annotations.number(f"{PAUSED}paused-replicas", high=highest)
    modes = {"paused": "Paused", "paused-scale-in": "UpOnly", "paused-scale-out": "DownOnly"}
    asked = [mode for name, mode in modes.items() if annotations.flag(f"{PAUSED}{name}")]
    return ("" if replicas is not None else next(iter(asked), "")), replicas


def schedule(trigger: Fields) -> tuple[Object, str]:
    """An entry of `spec.scaling.schedules` of a trigger `cron`; empty where it cannot be one, and why not."""
    given = trigger.part("metadata")
    start, end, zone = (" ".join(given.text(name).split()) for name in ("start", "end", "timezone"))
    wanted = given.number("desiredReplicas", high=MOST)
    trigger.drop("type", "name", "useCachedMetrics", "metricType")
    for part in (given, trigger):
        part.close()
    if not (start and end and zone) or wanted is None:
        return {}, "left out: it needs start, end, timezone and desiredReplicas"
    if problem := problem_of(ScalingSchedule(start=start, end=end, time_zone=zone)):
        return {}, f"left out: {problem[0]}: {problem[1]}"
    if never_opens(ScalingSchedule(start=start, end=end, time_zone=zone)):
        return {}, "left out: end ticks whenever start does"
    return {"start": start, "end": end, "timeZone": zone, "minReplicas": wanted}, ""


def schedules(made: list[Object], highest: int) -> Object:
    """The part of `spec.scaling`; KEDA has no more replicas than its maximum either."""
    bounded = [{**each, "minReplicas": min(each["minReplicas"], highest)} for each in made]
    return {"schedules": bounded} if bounded else {}
