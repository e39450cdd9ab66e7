"""The table of keys in the library's README, and what of a server's keys it does not account for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import redis_message_queue

if TYPE_CHECKING:
    import redis

_README = Path(redis_message_queue.__file__).with_name("README.md")
_TYPES = {"sorted set": "zset"}


@dataclass(frozen=True)
class DocumentedKey:
    """One kind of key: `expiry_ms` is the longest life that it may have left, None without expiry."""

    template: str
    type: str
    in_v7: bool
    expiry_ms: int | None

    def names(self, name: str, queue: str) -> bool:
        """Whether this is a key of that queue of this kind."""
        return re.fullmatch(re.escape(queue) + self._rest, name) is not None

    def names_of_any(self, name: str) -> bool:
        """Whether this is a key of some queue of this kind."""
        return re.fullmatch(".+" + self._rest, name, re.DOTALL) is not None

    @cached_property
    def _rest(self) -> str:
        """A pattern of what follows the queue's name."""
        pattern = re.sub(r"<[a-z]+>", "[^:]+(:[^:]+)?", re.escape(self.template).replace(r"\\<", "<"))
        return pattern[1:]


@cache
def documented_keys() -> list[DocumentedKey]:
    """Every row of the table below the heading "Keys"; a row may name several keys."""
    section = _README.read_text(encoding="utf-8").split("\n## Keys\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    found = []
    for names, kind, _, in_v7, expiry in rows:
        seconds = re.match(r"(\d+) s\b", expiry)
        assert seconds or expiry == "none", f"expiry of {names}: {expiry!r} is neither seconds nor none"
        limit = int(seconds[1]) * 1000 if seconds else None
        found += [
            DocumentedKey(template, _TYPES.get(kind, kind), in_v7.startswith("yes"), limit)
            for template in re.findall("`([^`]+)`", names)
        ]
    return found


def undocumented(client: redis.Redis, queue: str) -> list[str]:
    """What is wrong with the keys of the server, one line for each; empty if the table is right."""
    table, problems = documented_keys(), []
    for key in client.scan_iter():
        name, kind, left_ms = key.decode(), client.type(key).decode(), client.pttl(key)
        rows = [row for row in table if row.names(name, queue)]
        if not rows:
            problems.append(f"{name} is in no row")
        elif not any(row.type == kind and fits(row, left_ms) for row in rows):
            problems.append(f"{name} is a {kind} with {left_ms} ms to live, against {rows}")
    return problems


def fits(row: DocumentedKey, left_ms: int) -> bool:
    """Whether a key of this row may have so long to live; -1 stands for ever."""
    if row.expiry_ms is None or left_ms == -1:
        return row.expiry_ms is None and left_ms == -1
    return left_ms <= row.expiry_ms


def kept_for_ever(client: redis.Redis) -> list[str]:
    """The keys of a server that will never end by themselves although no row of the table says so."""
    rows = [row for row in documented_keys() if row.expiry_ms is None]
    names = list(client.scan_iter(count=1000))
    pipeline = client.pipeline(transaction=False)
    for name in names:
        pipeline.pttl(name)
    endless = [
        name.decode(errors="replace")
        for name, left_ms in zip(names, pipeline.execute(), strict=True)
        if left_ms == -1
    ]
    return [name for name in endless if not any(row.names_of_any(name) for row in rows)]
