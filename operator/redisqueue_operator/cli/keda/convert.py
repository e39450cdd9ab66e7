"""All ScaledObjects among some objects, each with the Deployment and the authentication that it names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redisqueue_operator.api.definition import API_VERSION
from redisqueue_operator.cli.keda.connection import Parameters, connection
from redisqueue_operator.cli.keda.fields import Fields, NotConvertible, Note, Object, check_shape, pruned
from redisqueue_operator.cli.keda.scaling import scaling, schedule, schedules
from redisqueue_operator.cli.keda.workload import worker

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGETS = ("listLength", "pendingEntriesCount", "streamLength", "lagCount")
PENDING = "::pending"
LONGEST_NAME = 56
OF_THE_SERVER = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"),
    *("finalizers", "ownerReferences"),
)
NOT_OURS = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision")
OF_THE_TOOLS = ("app.kubernetes.io/managed-by", "helm.sh/chart", "argocd.argoproj.io/instance")
OTHERS = {
    "ScaledJob": "not converted: a RedisQueue keeps its workers and gives them one message after the other;"
    " make a ScaledObject and a Deployment of it, or write the RedisQueue by hand",
}


@dataclass
class Converted:
    """What became of them."""

    queues: list[Object] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def convert(objects: Sequence[Object], handler: str = "") -> Converted:
    """A RedisQueue for each ScaledObject. Raises NotConvertible naming the one that cannot be."""
    result = Converted()
    for item in objects:
        kind = str(item.get("kind"))
        if kind == "ScaledObject":
            try:
                check_shape(item)
                result.queues.append(Conversion(item, objects, handler, result.notes).queue())
            except NotConvertible as error:
                raise NotConvertible(f"{named(item)}: {error}") from error
        elif kind in OTHERS:
            result.notes.append(Note(named(item), "kind", OTHERS[kind]))
    return result


def named(item: Object) -> str:
    """`Kind name`, for a person."""
    metadata = item.get("metadata")
    return f"{item.get('kind')} {metadata.get('name', '?') if isinstance(metadata, dict) else '?'}"


class Conversion:
    """Of one ScaledObject."""

    def __init__(self, item: Object, objects: Sequence[Object], handler: str, notes: list[Note]) -> None:
        self._objects = objects
        self._handler = handler
        self._notes = notes
        self._schedules: list[Object] = []
        whole = Fields(item, "", named(item), notes)
        self._metadata, self._spec = whole.part("metadata"), whole.part("spec")
        whole.drop("apiVersion", "kind", "status")
        whole.close()
        self._name, self._namespace = self._metadata.text("name"), self._metadata.text("namespace")

    def queue(self) -> Object:
        """The RedisQueue. Raises NotConvertible."""
        target = self._spec.part("scaleTargetRef")
        deployment = self._target(target)
        container = target.text("envSourceContainerName")
        target.close()
        trigger = self._trigger()
        metadata = trigger.part("metadata")
        given = Parameters(metadata, variables(deployment, container), self._authentication(trigger))
        kind = trigger.text("type")
        trigger.drop("name", "useCachedMetrics")
        trigger.drop_if(metricType="AverageValue")
        trigger.refuse(metricType="left out: the target is always for one slot of a worker")
        redis = connection(kind, given, metadata, self._name)
        queue = self._queue_name(kind, metadata, redis.get("mode", ""))
        per_slot = self._target_length(metadata)
        annotations = self._metadata.part("annotations")
        numbers, replicas = scaling(self._spec, annotations, per_slot)
        numbers |= schedules(self._schedules, numbers["maxReplicas"])
        whole = Fields(deployment, "", named(deployment), self._notes)
        spec = whole.part("spec")
        work, drain = worker(spec, container, self._handler)
        body = {"replicas": replicas, "redis": redis, "queue": {"name": queue}, "worker": work}
        result = {
            "apiVersion": API_VERSION,
            "kind": "RedisQueue",
            "metadata": self._own_metadata(annotations),
            "spec": pruned({**body, "scaling": numbers, "drain": drain}),
        }
        given.close()
        trigger.close()
        self._spec.close()
        return result

    def _own_metadata(self, annotations: Fields) -> Object:
        labels = self._metadata.part("labels")
        labels.drop(*OF_THE_TOOLS, "scaledobject.keda.sh/name")
        annotations.drop(*NOT_OURS)
        kept = annotations.rest()
        for name in [name for name in kept if "keda.sh/" in name]:
            annotations.note(name, "left out: it is KEDA's")
            kept.pop(name)
        self._metadata.drop(*OF_THE_SERVER)
        own = labels.rest()
        self._metadata.close()
        name = self._name
        if len(name) > LONGEST_NAME or "." in name:
            name = name.replace(".", "-")[:LONGEST_NAME].strip("-")
            self._metadata.note(
                "name", f"a RedisQueue has at most {LONGEST_NAME} characters and no dot: {name}"
            )
        places = {"name": name, "namespace": self._namespace or None}
        return pruned({**places, "labels": own, "annotations": kept})  # type: ignore[no-any-return]

    def _target(self, target: Fields) -> Object:
        """The Deployment that is scaled. Raises NotConvertible when it is not among the objects."""
        kind, name = target.text("kind") or "Deployment", target.text("name")
        target.drop("apiVersion")
        if kind != "Deployment":
            target.note("kind", f"a {kind}: its pod template is taken, the workers become a Deployment")
        found = self._find((kind,), name)
        if found is None:
            raise NotConvertible(
                f"its {kind} {name} is not among the files: give it too"
                f" (kubectl get {kind.lower()} {name} -o yaml)"
            )
        return found

    def _find(self, kinds: Sequence[str], name: str) -> Object | None:
        for item in self._objects:
            if item.get("kind") not in kinds:
                continue
            try:
                check_shape(item)
            except NotConvertible as error:
                raise NotConvertible(f"{named(item)}: {error}") from None
            metadata = item.get("metadata") or {}
            here = "Cluster" in str(item.get("kind")) or same_namespace(
                metadata.get("namespace"), self._namespace
            )
            if metadata.get("name") == name and here:
                return item
        return None

    def _trigger(self) -> Fields:
        """The first that counts a list or stream of Redis. Raises NotConvertible without any."""
        triggers = self._spec.take("triggers") or []
        paths = [f"spec.triggers[{index}]" for index in range(len(triggers))]
        of_redis = [str((one or {}).get("type", "")).startswith("redis") for one in triggers]
        if True not in of_redis:
            kinds = ", ".join(str((one or {}).get("type")) for one in triggers) or "none"
            raise NotConvertible(
                f"no trigger of Redis (there is: {kinds}): a RedisQueue is for queues in Redis"
            )
        chosen = of_redis.index(True)
        for index, one in enumerate(triggers):
            if (one or {}).get("type") == "cron":
                of = f"ScaledObject {self._name}"
                made, why = schedule(Fields(one, paths[index], of, self._notes))
                self._schedules += [made] if made else []
                self._notes += [Note(of, paths[index], why)] if why else []
            elif index != chosen:
                advice = (
                    "make a RedisQueue of its own for this list"
                    if of_redis[index]
                    else "the work in the queue alone decides here"
                )
                self._notes.append(Note(f"ScaledObject {self._name}", paths[index], f"left out: {advice}"))
        return Fields(triggers[chosen], paths[chosen], f"ScaledObject {self._name}", self._notes)

    def _authentication(self, trigger: Fields) -> Fields | None:
        reference = trigger.part("authenticationRef")
        name, kind = reference.text("name"), reference.text("kind") or "TriggerAuthentication"
        reference.close()
        if not name:
            return None
        found = self._find((kind,), name)
        if found is None:
            reference.note(
                "name",
                f"{kind} {name} is not among the files: give it too (kubectl get {kind.lower()} {name}"
                " -o yaml), or write spec.redis.auth by hand",
            )
            return None
        if kind.startswith("Cluster"):
            reference.note("kind", "its Secrets are in KEDA's namespace: copy them to that of the RedisQueue")
        return Fields(found.get("spec"), "spec", f"{kind} {name}", self._notes)

    def _queue_name(self, kind: str, metadata: Fields, mode: str) -> str | None:
        """Of the queue in Redis; None where it is that of the RedisQueue."""
        listed, stream = metadata.text("listName"), metadata.text("stream")
        metadata.drop("consumerGroup")
        if kind.endswith("-streams"):
            name = stream
            metadata.note("stream", f"what is in the stream stays there: have producers enqueue to {name!r}")
        else:
            name = listed.removesuffix(PENDING)
            if name == listed:
                metadata.note(
                    "listName",
                    f"messages of a RedisQueue are in {name}{PENDING}: have producers enqueue to {name!r},"
                    " and the old program finish what is in the list",
                )
        if not name:
            raise NotConvertible("the trigger names no list and no stream: give it listName or stream")
        if mode == "Cluster" and not ("{" in name and "}" in name):
            name = f"{{{name}}}"
            metadata.note("listName", f"{name}: in a cluster all keys of a queue have to be in one slot")
        return None if name == self._name else name

    def _target_length(self, metadata: Fields) -> int | None:
        found = [metadata.number(name, 1) for name in TARGETS]
        for name in ("activationListLength", "activationLagCount", "activationValue"):
            if (metadata.number(name) or 0) > 0:
                metadata.note(name, "left out: the first message starts a worker")
        return next((one for one in found if one is not None), None)


def same_namespace(one: Any, other: str) -> bool:
    """Whether they are one, where a file may leave it out."""
    return not one or not other or one == other


def variables(workload: Object, container: str) -> dict[str, Object]:
    """The variables of a workload's container by their names."""
    pod = (((workload.get("spec") or {}).get("template") or {}).get("spec")) or {}
    found = pod.get("containers") or [{}]
    chosen = next((one for one in found if container and one.get("name") == container), found[0])
    return {str(one.get("name")): one for one in chosen.get("env") or []}
