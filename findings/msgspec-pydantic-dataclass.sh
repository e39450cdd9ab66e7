#!/usr/bin/env bash
# msgspec 0.22.0, pydantic 2.12.5.
#
# msgspec can build dataclasses, and a pydantic dataclass is one: msgspec accepts it and says nothing. But it neither calls
# the class's own __init__ nor knows pydantic's Field. A field that the input leaves out becomes the FieldInfo object
# itself where pydantic calls the default_factory, and pydantic's bounds are not checked. A plain dataclass with
# field(default_factory=...) gets a list of its own.
#
# Seen: `FieldInfo` for the field that was left out, 0 accepted for a field with ge=1; `list` for the plain dataclass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0 pydantic==2.12.5
"$folder/venv/bin/python" - <<'PROGRAM'
import dataclasses

import msgspec
import pydantic
from pydantic.dataclasses import dataclass


@dataclass
class Checked:
    tags: list[str] = pydantic.Field(default_factory=list)
    attempts: int = pydantic.Field(default=3, ge=1)


@dataclasses.dataclass
class Plain:
    tags: list[str] = dataclasses.field(default_factory=list)


left_out = type(msgspec.convert({}, Checked).tags).__name__
too_low = msgspec.convert({"attempts": 0}, Checked).attempts
plain = type(msgspec.convert({}, Plain).tags).__name__
own = type(Checked().tags).__name__
print(f"msgspec: left out {left_out}, below the bound {too_low}; plain dataclass {plain}; pydantic itself {own}")
assert left_out == "FieldInfo", "the default is found now"
assert too_low == 0, "the bound is checked now"
assert plain == own == "list"
PROGRAM
