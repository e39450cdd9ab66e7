"""What `redisqueue local FILE` reads: RedisQueues, and the ConfigMaps that hold their handlers."""

from __future__ import annotations

import base64
import copy
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from redisqueue_operator.api.kubectl_yaml import load_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "redisqueue.dev/"
Object = dict[str, Any]


class DefinitionError(Exception):
    """The file cannot be used; the message says where and how to put it right."""


@dataclass(frozen=True)
class Definitions:
    """The objects of one file, by (namespace, name)."""

    queues: dict[tuple[str, str], Object] = field(default_factory=dict)
    config_maps: dict[tuple[str, str], dict[str, str | bytes]] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> Definitions:
        """The objects in a YAML file of one or more documents.

        Raises DefinitionError when it is unreadable, is not YAML, or holds no RedisQueue.
        """
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError(f"{path}: cannot be read: {error}") from error
        return Definitions.parse(text, str(path))

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
            elif kind == ("v1", "ConfigMap"):
                texts, others = item.get("data") or {}, item.get("binaryData") or {}
                found.config_maps[place] = {
                    **{str(name): str(text) for name, text in texts.items()},
                    **{str(name): _decoded(text, name) for name, text in others.items()},
                }
        if not found.queues:
            raise DefinitionError(
                f"{where}: no RedisQueue in it (apiVersion: {GROUP}v1alpha1, kind: RedisQueue)"
            )
        return found


def _decoded(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError as error:
        raise DefinitionError(f"binaryData.{name}: must be base64: {error}") from error


def objects_in(text: str, where: str) -> Iterator[Object]:
    """Each object of a YAML stream, those inside a List included. Raises DefinitionError."""
    try:
        documents = load_all(text)
    except yaml.YAMLError as error:
        raise DefinitionError(f"{where}: not YAML: {error}") from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise DefinitionError(
                f"{where}: a document is a {type(document).__name__}, not a Kubernetes object"
            )
        items = document.get("items") if document.get("kind") == "List" else [document]
        yield from (item for item in items or [] if isinstance(item, dict))


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
