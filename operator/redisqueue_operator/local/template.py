"""RedisQueue → the command and environment of its local workers; elsewhere that is the pod template."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redisqueue_operator.decide.children import worker_environment
from redisqueue_operator.decide.children.identity import digest
from redisqueue_operator.local.definitions import DefinitionError
from redisqueue_operator.local.worker_process import WorkerTemplate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from redisqueue_operator.api.model import RedisQueue

RUN_WORKER = (sys.executable, "-m", "redisqueue_worker.cli", "run")


def worker_template(rq: RedisQueue, *, redis_url: str, handler_path: Sequence[Path]) -> WorkerTemplate:
    """The template of one queue's workers.

    Args:
        redis_url: the Redis they use, in place of `spec.redis`.
        handler_path: folders to import the handler from, before the installed packages.

    Raises DefinitionError for an environment variable whose value exists only on a cluster.
    """
    worker = rq.spec.worker
    environment = dict(own_environment(worker.env)) | worker_environment(rq)
    environment["REDISQUEUE_REDIS_URL"] = redis_url
    environment["REDISQUEUE_OWNER_UID"] = rq.uid
    environment["PYTHONUNBUFFERED"] = "1"
    path = [str(folder) for folder in handler_path]
    environment["REDISQUEUE_HANDLER_PATH"] = os.pathsep.join(path)
    command = tuple(worker.command or ()) + tuple(worker.args or ()) if worker.command else RUN_WORKER
    grace = float(rq.spec.drain.grace_period_seconds)
    environment["REDISQUEUE_CONFIG_HASH"] = digest([command, environment])
    return WorkerTemplate(command, environment, grace, probed=not worker.command)


def own_environment(variables: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`worker.env` as plain values; a `valueFrom` is answered by this shell's variable of the same name.

    Raises DefinitionError when there is none.
    """
    result: dict[str, str] = {}
    for variable in variables:
        name = str(variable["name"])
        if "valueFrom" not in variable:
            result[name] = str(variable.get("value", ""))
        elif name in os.environ:
            result[name] = os.environ[name]
        else:
            raise DefinitionError(
                f"spec.worker.env: {name} takes its value from the cluster (valueFrom); "
                f"for local mode set it in the shell: export {name}=…"
            )
    return result


def write_sources(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a ConfigMap's files below `folder`, into a folder named by their content; return that folder."""
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    target = folder / digest({name: content.hex() for name, content in contents.items()})
    if not target.exists():
        target.mkdir(parents=True)
        for name, content in contents.items():
            (target / Path(name).name).write_bytes(content)
    return target


def ignored_fields(rq: RedisQueue, source_folders: Collection[str] = ()) -> list[str]:
    """What the resource asks for and local mode does not do, for the line at its start.

    `source_folders`: the RedisQueues of which a folder stands for `worker.source.image`.
    """
    worker = rq.raw.get("spec", {}).get("worker", {})
    source = rq.spec.worker.source
    unused = source is not None and source.image is not None and rq.key.name not in source_folders
    return (["worker.source.image (--source)"] if unused else []) + [
        f"worker.{name}"
        for name in ("image", "resources", "envFrom", "template", "serviceAccountName")
        if name in worker
    ]
