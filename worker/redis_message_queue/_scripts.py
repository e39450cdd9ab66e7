"""Loads the Lua scripts: one file each, into which the shared parts that it names are put."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# A function costs the server time in each call that creates it: parts go only where they are needed.
_INCLUDE = re.compile(r"^ *--#include (\w+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it: `sha` names `text` in EVALSHA."""

    name: str
    text: str
    sha: str


def _read(*path: str) -> str:
    return files(__package__).joinpath("scripts", *path).read_text("utf-8")


@cache
def script(name: str) -> Script:
    """The script of the file `scripts/<name>.lua`."""
    text = _INCLUDE.sub(lambda part: _read("parts", f"{part[1]}.lua"), _read(f"{name}.lua"))
    # Redis identifies scripts by SHA-1; nothing here depends on its strength.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
