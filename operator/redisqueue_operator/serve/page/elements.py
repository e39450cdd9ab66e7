"""HTML as a tree of the standard library's elements: what is put in as text comes out as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What HTML does not allow, and what would have the text around it read in another order.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)
Child = Element | str | None


def plain(text: str) -> str:
    """The same text with a mark in place of what cannot be seen."""
    return _UNSEEN.sub("\ufffd", text)


def element(name: str, attributes: Mapping[str, str | None] | None = None, *children: Child) -> Element:
    """An element; attributes and children that are None are left out."""
    made = Element(name, {key: plain(text) for key, text in (attributes or {}).items() if text is not None})
    return extend(made, children)


def extend(into: Element, children: Iterable[Child]) -> Element:
    """The same with these children after its own."""
    for child in children:
        if isinstance(child, Element):
            into.append(child)
        elif child is not None:
            if len(into):
                into[-1].tail = (into[-1].tail or "") + plain(child)
            else:
                into.text = (into.text or "") + plain(child)
    return into


def classed(name: str, class_: str, *children: Child) -> Element:
    """An element of a class."""
    return element(name, {"class": class_}, *children)


def document(root: Element) -> str:
    """The text of a whole page."""
    return f"<!doctype html>\n{tostring(root, encoding='unicode', method='html')}\n"
