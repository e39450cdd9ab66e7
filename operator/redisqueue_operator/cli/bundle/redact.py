"""What must not leave the cluster is taken out: by where it stands, by what it looks like, and wherever it
comes again. Pure.

A value that is removed in one place (a variable, an argument, the last words of a container) is removed in
every other text, too: in an Event, a condition, a log.
"""

from __future__ import annotations

import re
from typing import Any

REMOVED = "REMOVED"
OWN_VARIABLES = ("REDISQUEUE_", "POD_NAME")
"""Of the operator's own containers these are told: no secret is given to it so."""
KEPT_ANNOTATIONS = (
    *("redisqueue.dev/", "deployment.kubernetes.io/", "meta.helm.sh/", "controller.kubernetes.io/"),
    "cluster-autoscaler.kubernetes.io/",
)
_WORDS = ("command", "args")
_NAMED_VALUES = ("env", "httpHeaders")
_DROPPED = ("managedFields", "data", "stringData", "binaryData")
_MESSAGE = "payload"
"""Of a RedisQueueSchedule. Words of it elsewhere stay: a type of messages is also a name of a handler."""
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|pwd|token|secret(?:[_-]?(?:access[_-]?)?key)?|(?:api|access|private)[_-]?key"
    r"|credentials?)"
)
_NAMED_SECRET = re.compile(rf".*{_NAMES}", re.IGNORECASE)
"""A field such as a volume's attribute `password`, but none that says where one is: `passwordKey`."""
_QUOTE = r"\\*[\"']"
"""Also in JSON that is a text of JSON, as a message that a handler logs."""
_URL = re.compile(r"""(://)[^\s/@]{0,256}:(?:(?!://)[^\s"'<>]){0,4096}@""")
"""A password may hold an @: it ends at the last one before another URL."""
_ASSIGNED = re.compile(
    rf"({_NAMES}(?:{_QUOTE})?\s*(?:=>|[:=])\s*)(?:({_QUOTE})(?:.*?(?<!\\)\2|[^\n]*)|[^\s\"'\\]+)",
    re.IGNORECASE,
)
_FLAG = re.compile(rf"(--[\w-]{{0,64}}{_NAMES}[ \t]+)[^\s\"'\\]+", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    rf"(\bauthorization(?:{_QUOTE})?\s*[:=]\s*(?:{_QUOTE})?)[^\"'\\\n]+", re.IGNORECASE
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END|\Z)", re.DOTALL)
_PARTS = re.compile(r"[\s=:@/,;&?'\"<>()\[\]{}|]+")
_SHORTEST_VALUE, _SHORTEST_PART = 4, 8


class Redactor:
    """Objects first, all of them; then each of their texts, and all other texts."""

    def __init__(self) -> None:
        self._removed: set[str] = set()
        self._known: set[str] = set()

    def structure(self, item: Any, *, is_operator: bool = False) -> Any:
        """A copy without what stands where secrets may stand; what was there is remembered."""
        if isinstance(item, list):
            return [self.structure(one, is_operator=is_operator) for one in item]
        if not isinstance(item, dict):
            return item
        self._learn_names(item)
        result: dict[str, Any] = {}
        for name, value in item.items():
            if name in _DROPPED:
                continue
            if name == _MESSAGE:
                result[name] = REMOVED
            elif isinstance(value, str) and _NAMED_SECRET.fullmatch(name):
                result[name] = self._remove(value)
            elif name in _WORDS and isinstance(value, list):
                result[name] = [self._remove(word) for word in value]
            elif name in _NAMED_VALUES and isinstance(value, list):
                result[name] = [self._named(one, is_operator=is_operator) for one in value]
            elif name == "annotations" and isinstance(value, dict):
                result[name] = {
                    key: text if key.startswith(KEPT_ANNOTATIONS) else self._remove(text)
                    for key, text in value.items()
                    if key != "kubectl.kubernetes.io/last-applied-configuration"
                }
            elif name == "terminated" and isinstance(value, dict) and "message" in value:
                result[name] = {**value, "message": self._remove(value["message"])}
            elif name == "match" and isinstance(value, dict):
                result[name] = {key: self._remove(one) for key, one in value.items()}
            else:
                result[name] = self.structure(value, is_operator=is_operator)
        return result

    def texts(self, item: Any) -> Any:
        """A copy in which no text has anything that was removed elsewhere, or looks like a password."""
        if isinstance(item, str):
            return self.text(item)
        if isinstance(item, list):
            return [self.texts(one) for one in item]
        if isinstance(item, dict):
            return {name: self.texts(value) for name, value in item.items()}
        return item

    def text(self, text: str) -> str:
        """The same of one text."""
        for value in sorted(self._removed - self._known, key=len, reverse=True):
            text = text.replace(value, REMOVED)
        text = _URL.sub(rf"\1{REMOVED}@", text)
        text = _PRIVATE_KEY.sub(REMOVED, text)
        text = _AUTHORIZATION.sub(rf"\1{REMOVED}", text)
        text = _FLAG.sub(rf"\1{REMOVED}", text)
        return _ASSIGNED.sub(lambda found: f"{found[1]}{found[2] or ''}{REMOVED}{found[2] or ''}", text)

    def _named(self, one: Any, *, is_operator: bool) -> Any:
        if not isinstance(one, dict) or "value" not in one:
            return one
        if is_operator and str(one.get("name")).startswith(OWN_VARIABLES):
            return one
        return {**one, "value": self._remove(one["value"])}

    def _remove(self, value: Any) -> str:
        text = str(value)
        lines = [line.strip() for line in text.splitlines()]
        self._removed |= {line for line in (text, *lines) if len(line) >= _SHORTEST_VALUE}
        self._removed |= {part for part in _PARTS.split(text) if len(part) >= _SHORTEST_PART}
        return REMOVED

    def _learn_names(self, item: dict[str, Any]) -> None:
        """Names of objects are no secrets, though a variable may have one as its value."""
        metadata = item.get("metadata")
        if isinstance(metadata, dict):
            self._known |= {str(metadata.get(name)) for name in ("name", "namespace", "uid", "generateName")}
            self._known |= {str(value) for value in (metadata.get("labels") or {}).values()}
        self._known |= {str(item[name]) for name in ("name", "image", "kind", "nodeName") if name in item}
