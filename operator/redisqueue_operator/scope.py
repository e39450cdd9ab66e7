"""The part of a cluster that one operator serves: some namespaces, some labels, or both. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redisqueue_operator.observe.cache import REDISQUEUES

if TYPE_CHECKING:
    from redisqueue_operator.api.resources import Resource

_VALUE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_KEY = rf"(?:[a-z0-9][a-z0-9.-]*/)?{_VALUE}"
_REQUIREMENTS = re.compile(
    rf"!\s*{_KEY}|{_KEY}(?:\s*(?:==?|!=)\s*(?:{_VALUE})?|\s+(?:not)?in\s*\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\))?"
)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated text; none for one that is empty, which means everything.

    Raises ValueError for an empty name among others: what a template or a variable failed to fill in must not
    come to mean everything.
    """
    names = [name.strip() for name in text.split(",")]
    if "" in names and text:
        raise ValueError(
            f"{text!r} has an empty name in it: write 'one,two', or nothing at all for everything"
        )
    return tuple(sorted({name for name in names if name}))


def check_namespace(name: str) -> None:
    """Raises ValueError for what can be no namespace's name, and would be looked for in vain."""
    if not _NAMESPACE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no namespace's name: at most 63 of a-z, 0-9 and '-', the ends a letter or digit"
        )


def check_secret(name: str) -> None:
    """Raises ValueError for what can be no Secret's name."""
    if len(name) > 253 or not all(_NAMESPACE.fullmatch(part) for part in name.split(".")):
        raise ValueError(
            f"{name!r} is no Secret's name: at most 253 of a-z, 0-9, '-' and '.', each part with a letter or "
            "digit at its ends"
        )


@dataclass(frozen=True, slots=True)
class Scope:
    """What to watch. Raises ValueError when the selector is none.

    Args:
        namespaces: those that are watched; empty = all.
        selector: a label selector of RedisQueues, as kubectl's -l takes it; empty = all. What belongs to them
            is watched whoever's it is: their labels are not their pods'.
    """

    namespaces: tuple[str, ...] = ()
    selector: str = ""

    def __post_init__(self) -> None:
        """Check the selector, which the API server would refuse only when everything else is running."""
        rest = self.selector.strip()
        while rest:
            found = _REQUIREMENTS.match(rest)
            after = rest[found.end() :].lstrip() if found else rest
            if found is None or (after and not after.startswith(",")) or after == ",":
                raise ValueError(
                    f"{self.selector!r} is no label selector, wrong from {rest!r} on: "
                    "write it as for kubectl -l, for example 'shard=a' or 'team in (shop,mail),!legacy'"
                )
            rest = after[1:].lstrip()

    def selector_of(self, resource: Resource) -> str:
        """The label selector by which the server picks what this operator sees of that kind."""
        return self.selector if resource is REDISQUEUES else resource.selector
