"""What `redisqueue local FILE` reads: RedisQueues, their budgets and schedules, ConfigMaps with handlers."""

from __future__ import annotations

import base64
import copy
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from redisqueue_operator.api.kubectl_yaml import load_all

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "redisqueue.dev/"
DEEPEST, MOST_VALUES = 200, 10_000_000
"""No object of an API server is nested so deep or holds so much; aliases (`*name`) can be without end."""
Object = dict[str, Any]


class DefinitionError(Exception):
    """The file cannot be used; the message says where and how to put it right."""


@dataclass(frozen=True)
class Definitions:
    """The objects of one file, by (namespace, name)."""

    queues: dict[tuple[str, str], Object] = field(default_factory=dict)
    budgets: dict[tuple[str, str], Object] = field(default_factory=dict)
    schedules: dict[tuple[str, str], Object] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], dict[str, str | bytes]] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> Definitions:
        """The objects in a YAML file of one or more documents.

        Raises DefinitionError when it is unreadable, is not YAML, or holds no RedisQueue.
        """
        return Definitions.parse(text_of(path), str(path))

    @staticmethod
    def parse(text: str, where: str = "input") -> Definitions:
        """The objects in YAML text; `where` names it in errors. Raises DefinitionError."""
        found = Definitions()
        for item in objects_in(text, where):
            metadata = item.get("metadata")
            if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
                raise DefinitionError(
                    f"{where}: a {item.get('kind', 'document')} has no metadata.name: give it one"
                )
            place = (str(metadata.get("namespace") or "default"), metadata["name"])
            kind = str(item.get("apiVersion", "")), item.get("kind")
            if kind[1] == "RedisQueue" and kind[0].startswith(GROUP):
                found.queues[place] = with_identity(item, place)
            elif kind[1] == "RedisQueueBudget" and kind[0].startswith(GROUP):
                found.budgets[place] = with_identity(item, place)
            elif kind[1] == "RedisQueueSchedule" and kind[0].startswith(GROUP):
                found.schedules[place] = with_identity(item, place)
            elif kind == ("v1", "ConfigMap"):
                texts, others = (_mapping(item, part, where) for part in ("data", "binaryData"))
                found.config_maps[place] = {
                    **{str(name): str(text) for name, text in texts.items()},
                    **{str(name): _decoded(text, name) for name, text in others.items()},
                }
        if not found.queues:
            raise DefinitionError(
                f"{where}: no RedisQueue in it (apiVersion: {GROUP}v1alpha1, kind: RedisQueue)"
            )
        return found


def _mapping(item: Object, part: str, where: str) -> dict[str, Any]:
    found = item.get(part) or {}
    if not isinstance(found, dict):
        raise DefinitionError(f"{where}: {part} of a ConfigMap must be a mapping, got {found!r}")
    return found


def _decoded(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError as error:
        raise DefinitionError(f"binaryData.{name}: must be base64: {error}") from error


def text_of(file: Path | str) -> str:
    """The text of a file; `-` is standard input. Raises DefinitionError, which names the file."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise DefinitionError(f"{file}: cannot be read: {said}") from error


def objects_in(text: str, where: str) -> Iterator[Object]:
    """Each object of a YAML stream, those inside a List included. Raises DefinitionError."""
    try:
        documents = load_all(text)
    except (yaml.YAMLError, ValueError) as error:  # too many digits, no text
        raise DefinitionError(f"{where}: not YAML: {error}") from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise DefinitionError(
                f"{where}: a document is a {type(document).__name__}, not a Kubernetes object"
            )
        _check_size(document, where)
        items = (document.get("items") or []) if document.get("kind") == "List" else [document]
        if not isinstance(items, list):
            raise DefinitionError(f"{where}: items of a List must be a list, got {items!r}")
        for item in items:
            if isinstance(item, dict):
                _check_kind(item, where)
                yield item


def _check_kind(item: Object, where: str) -> None:
    kind = item.get("kind")
    if kind is not None and not isinstance(kind, str):
        raise DefinitionError(f"{where}: kind must be a text, got {kind!r}")


def _check_size(document: Object, where: str) -> None:
    """Raise for what nobody could walk through: each level is looked at as one list."""
    level: list[dict[str, Any] | list[Any]] = [document]
    seen = 0
    for _ in range(DEEPEST):
        seen += sum(map(len, level))
        if not level:
            return
        if seen > MOST_VALUES:
            break
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
    raise DefinitionError(
        f"{where}: an object is nested deeper than {DEEPEST} levels, or larger than {MOST_VALUES} values:"
        " write out its aliases (*NAME)"
    )


def with_identity(item: Object, place: tuple[str, str]) -> Object:
    """A copy with what an API server would have added: namespace, a uid that stays the same, a generation."""
    identity = {
        "namespace": place[0],
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{GROUP}{place[0]}/{place[1]}")),
        "generation": 1,
        "resourceVersion": "1",
    }
    result = copy.deepcopy(item)
    result["metadata"] = {**identity, **{k: v for k, v in result["metadata"].items() if v is not None}}
    return result
