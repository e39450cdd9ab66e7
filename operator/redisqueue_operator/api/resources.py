"""Where the objects of a kind stand in the API server's tree of URLs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Key


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind that is watched, and the label selector that the server applies."""

    group: str
    version: str
    plural: str
    selector: str = ""

    def path(self, namespace: str | None = None) -> str:
        """The URL path of all objects, in one namespace or in all."""
        return path_of(self.group, self.version, self.plural, namespace)

    def path_to(self, key: Key, subresource: str = "") -> str:
        """The URL path of one object, or of a part of it that is written by itself."""
        return path_of(self.group, self.version, self.plural, key.namespace, key.name, subresource)


def path_of(
    group: str, version: str, plural: str, namespace: str | None = None, name: str = "", subresource: str = ""
) -> str:
    """The URL path of a resource, an object or a subresource; `namespace` None lists all namespaces."""
    parts = ["apis", group, version] if group else ["api", version]
    parts += ["namespaces", namespace] if namespace else []
    parts += [plural, *(part for part in (name, subresource) if part)]
    return "/" + "/".join(map(_quoted, parts))


@lru_cache(maxsize=8192)
def _quoted(part: str) -> str:
    return quote(part, safe="")
