"""The CustomResourceDefinitions as data: where defaults, bounds and rules are read from."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

FILE = "redisqueue.dev_redisqueues.yaml"
GROUP = "redisqueue.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "RedisQueue"
PLURAL = "redisqueues"
REDRIVE_FILE = "redisqueue.dev_redisqueueredrives.yaml"
REDRIVE_KIND = "RedisQueueRedrive"
FILES = {KIND: FILE, REDRIVE_KIND: REDRIVE_FILE}

Schema = dict[str, Any]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where libyaml was built in


def text(kind: str = KIND) -> str:
    """The definition as it stands in `crds/`: packaged beside this module, else in the source tree."""
    packaged = resources.files(__package__) / FILES[kind]
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).resolve().parents[3] / "crds" / FILES[kind]).read_text(encoding="utf-8")


@cache
def definition(kind: str = KIND) -> dict[str, Any]:
    """The whole CustomResourceDefinition. Shared: do not change it."""
    loaded: dict[str, Any] = yaml.load(text(kind), Loader=_Loader)  # noqa: S506 - a safe loader, in C or in Python
    return loaded


@cache
def schema(kind: str = KIND) -> Schema:
    """The OpenAPI schema of a whole object of that kind. Shared: do not change it."""
    version = next(item for item in definition(kind)["spec"]["versions"] if item["name"] == VERSION)
    result: Schema = version["schema"]["openAPIV3Schema"]
    return result
