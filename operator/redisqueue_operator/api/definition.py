"""The CustomResourceDefinition as data: where defaults, bounds and rules are read from."""

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

Schema = dict[str, Any]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where libyaml was built in


def text() -> str:
    """The definition as it stands in `crds/`: packaged beside this module, else in the source tree."""
    packaged = resources.files(__package__) / FILE
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).resolve().parents[3] / "crds" / FILE).read_text(encoding="utf-8")


@cache
def definition() -> dict[str, Any]:
    """The whole CustomResourceDefinition. Shared: do not change it."""
    loaded: dict[str, Any] = yaml.load(text(), Loader=_Loader)  # noqa: S506 - a safe loader, in C or in Python
    return loaded


@cache
def schema() -> Schema:
    """The OpenAPI schema of a whole RedisQueue. Shared: do not change it."""
    version = next(item for item in definition()["spec"]["versions"] if item["name"] == VERSION)
    result: Schema = version["schema"]["openAPIV3Schema"]
    return result
