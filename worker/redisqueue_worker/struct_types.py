"""Structs of msgspec: they are made by it, at whatever depth they stand.

msgspec is optional, and never imported here: whoever has a Struct has imported it.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from redisqueue_worker.exceptions import InvalidPayload
from redisqueue_worker.logs import class_name, text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

# A path consists of names of fields: keys of a dict, which are payload, are `[...]` in it.
_PLACE = re.compile(r"at `(\$[^`]*)`")


def reader_of(kind: Any) -> Callable[[Any], Any]:
    """What makes a Struct from a JSON value, or raises InvalidPayload. Raises TypeError if none can."""
    msgspec = sys.modules["msgspec"]
    try:
        msgspec.json.Decoder(kind)
    except Exception as error:  # a name that its annotations mean and nobody knows
        what = f"{type_name(error)}: {text_of(error)}"
        raise TypeError(f"JSON cannot fill {class_name(kind)}: {what}") from error

    def reading(value: Any) -> Any:
        try:
            return msgspec.convert(value, kind, str_keys=True)
        except ValueError as error:  # msgspec's ValidationError is one; its text may quote the payload
            place = _PLACE.search(str(error))
            where = f" at {place[1]}" if place else ""
            raise InvalidPayload(f"no valid {class_name(kind)}{where}", wrong_kind=not place) from None

    return reading


def names_of(kind: Any) -> frozenset[str] | None:
    """By which names an object fills it; None for one that leaves out what it does not know."""
    config = kind.__struct_config__
    if not config.forbid_unknown_fields:
        return None
    return frozenset([*kind.__struct_encode_fields__, *([config.tag_field] if config.tag_field else [])])
