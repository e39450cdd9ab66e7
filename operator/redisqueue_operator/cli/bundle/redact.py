"""What must not leave the cluster is taken out: by where it stands, by what it looks like, and wherever it
comes again. Pure.

A value that is removed in one place (a variable, an argument, the last words of a container) is removed in
every other text, too: in an Event, a condition, a log.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOVED = "REMOVED"
OWN_VARIABLES = ("REDISQUEUE_", "POD_NAME")
"""Of the operator's own containers these are told: no secret is given to it so."""
KEPT_ANNOTATIONS = (
    *("redisqueue.dev/", "deployment.kubernetes.io/", "meta.helm.sh/", "controller.kubernetes.io/"),
    "cluster-autoscaler.kubernetes.io/",
)
_WORDS = ("command", "args")
_NAMED_VALUES = ("env", "httpHeaders")
_OPTIONS = ("annotations", "volumeAttributes", "options")
"""Each driver of volumes names its secrets as it likes."""
_DROPPED = ("managedFields", "data", "stringData", "binaryData")
_MESSAGE = "payload"
"""Of a RedisQueueSchedule. Words of it elsewhere stay: a type of messages is also a name of a handler."""
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|pwd|token|secret(?:[_-]?(?:access[_-]?)?key)?|credentials?"
    r"|(?:api|access|account|private|shared)[_-]?key)"
)
_NAMED_SECRET = re.compile(rf".*{_NAMES}", re.IGNORECASE)
"""A field such as a volume's attribute `password`, but none that says where one is: `passwordKey`."""
_QUOTE = r"\\*[\"']"
"""Also in JSON that is a text of JSON, as a message that a handler logs."""
_URL = re.compile(r"""(://)[^\s/@]{0,256}:(?:(?!://)[^\s"'<>]){0,4096}@""")
"""A password may hold an @: it ends at the last one before another URL."""
_WORD = r"(?:[^\s\"'\\]|\\+(?![\"'\\]))+"
_ASSIGNED = re.compile(
    rf"({_NAMES}(?:{_QUOTE})?\s*(?:=>|[:=])\s*)(?:({_QUOTE})(?:.*?(?<!\\)\2|[^\n]*)|{_WORD})",
    re.IGNORECASE,
)
_FLAG = re.compile(rf"(--[\w-]{{0,64}}{_NAMES}[ \t]+){_WORD}", re.IGNORECASE)
_AUTHORIZATION = re.compile(
    rf"(\bauthorization(?:{_QUOTE})?\s*[:=]\s*(?:{_QUOTE})?)[^\"'\\\n]+", re.IGNORECASE
)
_PROSE = r"(?:auth|authentication|authorization|credentials?|tokens?)(?![\w.~+/=-])|realm="
_SCHEME = re.compile(rf"(\b(?:bearer|basic)[ \t]+)(?!{_PROSE}){_WORD}", re.IGNORECASE)
"""A header's value by itself. After `basic` any other word goes, too: better than a secret that stays."""
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END|\Z)", re.DOTALL)
_PARTS = re.compile(r"[\s=:@/,;&?'\"<>()\[\]{}|]+")
_SHORTEST_VALUE, _SHORTEST_PART = 4, 8
_DEEPEST_JSON = 3
_ESCAPE = re.compile(
    r"(?<!\\)(\\+)u((?:[dD][89abAB][0-9a-fA-F]{2}\\+u[dD][c-fC-F]|[0-9a-fA-F]{2})[0-9a-fA-F]{2})"
)
"""As JSON may write any character: of four digits, or of two times four."""


class Redactor:
    """Objects first, all of them; then each of their texts, and all other texts."""

    def __init__(self) -> None:
        self._removed: set[str] = set()
        self._known = {"true", "false", "True", "False", "null", "None"}

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
            elif name in _OPTIONS and isinstance(value, dict):
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
        text = _ESCAPE.sub(_unescaped, text)
        for value in sorted(self._removed - self._known, key=len, reverse=True):
            text = text.replace(value, REMOVED)
        text = _URL.sub(rf"\1{REMOVED}@", text)
        text = _PRIVATE_KEY.sub(REMOVED, text)
        text = _AUTHORIZATION.sub(rf"\1{REMOVED}", text)
        text = _SCHEME.sub(rf"\1{REMOVED}", text)
        text = _FLAG.sub(rf"\1{REMOVED}", text)
        return _ASSIGNED.sub(lambda found: f"{found[1]}{found[2] or ''}{REMOVED}{found[2] or ''}", text)

    def _named(self, one: Any, *, is_operator: bool) -> Any:
        if not isinstance(one, dict) or "value" not in one:
            return one
        if is_operator and str(one.get("name")).startswith(OWN_VARIABLES):
            return one
        return {**one, "value": self._remove(one["value"])}

    def _remove(self, value: Any) -> str:
        text = _ESCAPE.sub(_unescaped, str(value))
        lines = [line.strip() for line in text.splitlines()]
        whole = [line for line in (text, *lines) if len(line) >= _SHORTEST_VALUE]
        parts = [part for part in _PARTS.split(text) if len(part) >= _SHORTEST_PART]
        for each in (*whole, *parts):
            self._removed |= {each, *_quoted(each)}
        return REMOVED

    def _learn_names(self, item: dict[str, Any]) -> None:
        """Names of objects are no secrets, though a variable may have one as its value."""
        metadata = item.get("metadata")
        if isinstance(metadata, dict):
            self._known |= {str(metadata.get(name)) for name in ("name", "namespace", "uid", "generateName")}
            self._known |= {str(value) for value in (metadata.get("labels") or {}).values()}
        self._known |= {str(item[name]) for name in ("name", "image", "kind", "nodeName") if name in item}


def _quoted(text: str) -> Iterator[str]:
    """As it stands in JSON, and in JSON that is a text of JSON, but for what `_unescaped` undoes."""
    for _ in range(_DEEPEST_JSON):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
        yield text


def _unescaped(found: re.Match[str]) -> str:
    """The character that an escape means, so that a secret is recognised however its letters are written.

    In JSON that is a text of JSON an escape has twice as many backslashes; a quote or a backslash keeps those
    that it needs, so that JSON stays JSON.
    """
    character = bytes.fromhex(found[2].replace("\\", "").replace("u", "")).decode("utf-16-be", "ignore")
    if not character or character < " ":
        return found[0]
    backslashes = len(found[1])
    depth = backslashes & -backslashes  # the others are backslashes of the text
    needed = 2 * depth - 1 if character in '"\\' else 0
    return "\\" * (backslashes - depth + needed) + character
