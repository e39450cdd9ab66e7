"""The Deployment that KEDA scales → `spec.worker` and `spec.drain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.cli.keda.fields import NotConvertible, pruned

if TYPE_CHECKING:
    from redisqueue_operator.cli.keda.fields import Fields, Object

GRACE_SECONDS = 15
"""The grace period of a worker is its drain timeout and this."""
KUBERNETES_GRACE_SECONDS = 30
OF_THE_IMAGE = ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")


def worker(deployment: Fields, container: str, handler: str) -> tuple[Object, Object]:
    """`spec.worker` and `spec.drain` from the spec of a Deployment.

    Args:
        container: the name of its container, where it is not the first.
        handler: the function to call in place of its command; empty: the command stays.

    Raises NotConvertible when nothing says what to run.
    """
    deployment.drop("replicas", "selector")
    deployment.drop_if(revisionHistoryLimit=10, progressDeadlineSeconds=600, minReadySeconds=0)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    deployment.drop_if(strategy=rolling)
    operators = "left out: the Deployment of the workers is the operator's; see spec.rollout"
    names = ("strategy", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", "paused")
    deployment.refuse(**dict.fromkeys(names, operators))
    for claims in ("volumeClaimTemplates", "serviceName", "podManagementPolicy", "updateStrategy"):
        deployment.refuse(**{claims: "left out: workers are equal, none has a name or a volume of its own"})
    template = deployment.part("template")
    metadata, pod = template.part("metadata"), template.part("spec")
    metadata.drop("creationTimestamp", "name", "namespace")
    found = pod.parts("containers")
    chosen, others = pick(found, container)
    result = first(chosen, handler)
    grace = pod.number("terminationGracePeriodSeconds", 1, 86400)
    drain = max((KUBERNETES_GRACE_SECONDS if grace is None else grace) - GRACE_SECONDS, 1)
    result |= of_the_pod(pod)
    mine = {"name": "worker", **chosen.rest()}
    containers = [*([mine] if len(mine) > 1 else []), *others]
    spec = {**pod.rest(), "containers": containers}
    labels = {"labels": metadata.take("labels"), "annotations": metadata.take("annotations")}
    if "securityContext" not in spec and "securityContext" not in mine:
        pod.note(
            "securityContext",
            "none here: workers run as user 65532 on a read-only root; where the image cannot, say so in"
            " spec.worker.template.spec",
        )
    result["template"] = {"metadata": labels, "spec": spec}
    for part in (metadata, template, deployment):
        part.close()
    return pruned(result), {"timeoutSeconds": drain}


def pick(found: list[Fields], name: str) -> tuple[Fields, list[Object]]:
    """The container that becomes the worker, and the others as they are. Raises NotConvertible."""
    if not found:
        raise NotConvertible("its pod template has no container")
    named = [(part, part.take("name")) for part in found]
    chosen = next((part for part, its in named if name and its == name), found[0])
    others = [{"name": its, **part.rest()} for part, its in named if part is not chosen]
    return chosen, others


def first(container: Fields, handler: str) -> Object:
    """The fields of the worker that stand in its container."""
    names = ("image", "imagePullPolicy", "env", "envFrom", "resources")
    result: Object = {name: container.take(name) for name in names}
    container.drop_if(terminationMessagePath="/dev/termination-log", terminationMessagePolicy="File")
    command, arguments = container.take("command"), container.take("args")
    if handler:
        result["handler"] = handler
        container.refuse(**dict.fromkeys(OF_THE_IMAGE, "left out: the worker image has its own"))
    elif command:
        result |= {"command": command, "args": arguments}
        container.note(
            "command",
            "kept: it has to consume the queue by the library, whose keys are not KEDA's list;"
            " --handler MODULE:FUNCTION has the worker call a function instead",
        )
    else:
        raise NotConvertible(
            f"{container.path} has no command, and what its image runs cannot be seen:"
            " give --handler MODULE:FUNCTION, or write the command into the Deployment"
        )
    return result


def of_the_pod(pod: Fields) -> Object:
    """The fields of the worker that stand in its pod."""
    pod.drop("restartPolicy", "serviceAccount")
    pod.drop_if(dnsPolicy="ClusterFirst", schedulerName="default-scheduler", securityContext={})
    account = pod.take("serviceAccountName")
    if account:
        pod.note(
            "serviceAccountName",
            "its token is not mounted unless spec.worker.template.spec.automountServiceAccountToken is true",
        )
    return {"serviceAccountName": account, "imagePullSecrets": pod.take("imagePullSecrets")}
