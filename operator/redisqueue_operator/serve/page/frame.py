"""What all pages have around them: title, style, script, and the parts of which they are made."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from redisqueue_operator.serve.page.elements import Child, classed, document, element
from redisqueue_operator.serve.page.words import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from xml.etree.ElementTree import Element

STYLE = files(__package__).joinpath("page.css").read_text("utf-8")
SCRIPT = files(__package__).joinpath("page.js").read_text("utf-8")
REFRESH_SECONDS, REFRESH_WITHOUT_SCRIPT_SECONDS = 5, 10
NOT_KNOWN = "not known: Redis could not be read"


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""The page loads nothing but itself, and runs nothing but what it came with."""


def framed(
    title: str,
    crumbs: Sequence[Child],
    controls: Iterable[Element],
    live: Iterable[Child],
    *,
    foot: str,
    refresh: bool,
) -> str:
    """A whole page. `live` is what a refresh replaces; `controls` stay as somebody left them."""
    meta = [{"charset": "utf-8"}, {"name": "viewport", "content": "width=device-width, initial-scale=1"}]
    meta.append({"name": "color-scheme", "content": "light dark"})
    again = {"http-equiv": "refresh", "content": str(REFRESH_WITHOUT_SCRIPT_SECONDS)}
    head = element(
        "head",
        None,
        *(element("meta", each) for each in meta),
        element("title", None, title),
        element("style", None, STYLE),
        element("noscript", None, element("meta", again)) if refresh else None,
        element("script", None, SCRIPT),
    )
    lost = element("p", {"id": "lost", "class": "banner", "role": "status", "hidden": "hidden"})
    body = element(
        "body",
        None,
        element("header", None, *crumbs),
        element("main", None, *controls, lost, element("div", {"id": "live"}, *live)),
        element("footer", None, foot),
    )
    root = {"lang": "en", "data-refresh": str(REFRESH_SECONDS) if refresh else None}
    return document(element("html", root, head, body))


def link(address: str, query: Mapping[str, str], *children: Child, **attributes: str) -> Element:
    """A link; `address` is relative to the page."""
    href = f"{address}?{urlencode(query)}" if query else address or "?"
    return element("a", {"href": href, **attributes}, *children)


def foreign(text: str) -> Element:
    """Text of others: whichever way it is written, what stands around it stays in its place."""
    return element("bdi", None, text)


def cards(entries: Iterable[tuple[str, str, str]]) -> Element:
    """Numbers at a glance: name, value, and what is to be said of it, or nothing."""
    made = []
    for name, value, remark in entries:
        value_class = "unknown" if value == UNKNOWN else None
        more = classed("small", "remark", remark) if remark else None
        values = element("dd", {"class": value_class}, value, more)
        made.append(element("div", None, element("dt", None, name), values))
    return classed("dl", "cards", *made)


def table(label: str, header: Element, rows: Iterable[Element], class_: str = "") -> Element:
    """A table in a box that scrolls where the screen is too narrow, also by the keyboard."""
    whole = element(
        "table", {"class": class_ or None}, element("thead", None, header), element("tbody", None, *rows)
    )
    return element("div", {"class": "scroll", "role": "region", "aria-label": label, "tabindex": "0"}, whole)


def heads(*names: str) -> Element:
    """The header of a table with such columns; a name that begins with `#` is one of numbers."""
    classes = {True: "number", False: None}
    cells = (
        element("th", {"scope": "col", "class": classes[name.startswith("#")]}, name.removeprefix("#"))
        for name in names
    )
    return element("tr", None, *cells)


def figure(value: str, class_: str = "", hint: str = NOT_KNOWN) -> Element:
    """A cell with a number in words."""
    if value == UNKNOWN:
        return element("td", {"class": f"number unknown {class_}".strip(), "title": hint}, value)
    return element("td", {"class": f"number {class_}".strip()}, value)


def badge(state: str, level: str) -> Element:
    """A word in a colour; the colour says nothing that the word does not."""
    return classed("span", f"badge {level}", state or "Unknown")
