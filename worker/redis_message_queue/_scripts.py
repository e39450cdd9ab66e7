"""Loads the Lua scripts: one file each, put behind the shared prelude."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it: `sha` names `text` in EVALSHA."""

    name: str
    text: str
    sha: str


def _read(name: str) -> str:
    return (files(__package__) / "scripts" / f"{name}.lua").read_text("utf-8")


@cache
def script(name: str) -> Script:
    """The script of the file `scripts/<name>.lua`."""
    text = _read("prelude") + _read(name)
    # Redis identifies scripts by SHA-1; nothing here depends on its strength.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
