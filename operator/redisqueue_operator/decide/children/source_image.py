"""Handler files out of an image: whether the API server takes such a volume. Pure.

One that has none in its API, or has switched them off, drops the volume and its mount without a word: workers
would start without their files. So it is asked by a dry run, before anything is written.
"""

from __future__ import annotations

from typing import Any

from redisqueue_operator.decide.children.pod_template import HANDLER_VOLUME
from redisqueue_operator.observe.facts import SOURCE_UNSUPPORTED, ApplyOutcome

Object = dict[str, Any]

UNSUPPORTED = ApplyOutcome(
    ok=False,
    reason=SOURCE_UNSUPPORTED,
    message="The API server drops volumes of type image, so the files of spec.worker.source.image would be "
    "missing: nothing was changed. They are on by default since Kubernetes 1.35 (before that by the feature "
    "gate ImageVolume of API server and kubelets). Upgrade the cluster, or have the files in a ConfigMap "
    "(spec.worker.source.configMapRef) or in an image of your own (spec.worker.image).",
)


def is_mounted_by(deployment: Object) -> bool:
    """Whether its pods mount the handler's files out of an image."""
    volumes = deployment["spec"]["template"]["spec"].get("volumes") or ()
    return any(each.get("name") == HANDLER_VOLUME and each.get("image") for each in volumes)


def refusal(deployment: Object, answer: Object) -> ApplyOutcome | None:
    """Why the workers cannot run, from what the API server would make of the Deployment; None if they can."""
    return UNSUPPORTED if is_mounted_by(deployment) and not is_mounted_by(answer) else None
