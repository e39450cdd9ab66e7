"""The page of all queues: model in, HTML out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from redisqueue_operator.serve.page.elements import classed, element
from redisqueue_operator.serve.page.frame import badge, cards, figure, foreign, framed, link, table
from redisqueue_operator.serve.page.model import PAGE_ROWS, SHOWN
from redisqueue_operator.serve.page.plots import Curve, highest, legend, spark
from redisqueue_operator.serve.page.words import UNKNOWN, age, clock, number, rate

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from redisqueue_operator.serve.page.model import FleetView, Query, QueueLine, Sum

LEVELS = {
    **dict.fromkeys(("Running", "Promoted"), "good"),
    **dict.fromkeys(("ScalingUp", "RollingOut", "Canary", "Manual", "Paused", "DryRun", "External"), "busy"),
    **dict.fromkeys(("NoRedis", "NotReady"), "bad"),
    **dict.fromkeys(("Degraded", "Unschedulable", "RolledBack", "PodsMissing"), "warn"),
}
"""The colours of the words of `.status.state`; the others have none."""
SHOWN_TEXTS = {"all": "all queues", "attention": "need attention", "busy": "with work or workers"}
COLUMNS = (
    ("name", "Queue", "", ""),
    ("state", "State", "", ""),
    ("pending", "Pending", "number", ""),
    ("in-flight", "In flight", "number", ""),
    ("delayed", "Delayed", "number extra", ""),
    ("failed", "Failed", "number extra", ""),
    ("dead", "Dead letters", "number", ""),
    ("oldest", "Oldest", "number extra", "how long the oldest message waits"),
    ("in", "In/s", "number extra", "messages that arrive a second, over the last minute"),
    ("out", "Out/s", "number extra", "messages that workers claim a second, over the last minute"),
    ("workers", "Workers", "number", "ready / wanted"),
)
SPARKS = (Curve("waiting", "area-1", ()), Curve("workers wanted", "line-2", ()))
LONGEST_MESSAGE = 160


def fleet_page(view: FleetView, at: float, foot: str) -> str:
    """The whole page; `at` in seconds since the epoch."""
    query = view.query
    crumbs = [
        classed("h1", "brand", "RedisQueue"),
        element("p", None, "its queues, live"),
        refresh_link(query),
    ]
    live = [_cards(view), _said(view, at), *([_table(view), _pager(view)] if view.lines else [])]
    controls = [_filter(query)]
    return framed("RedisQueue", crumbs, controls, live, foot=foot, refresh=query.refresh)


def _cards(view: FleetView) -> Element:
    total = view.totals
    of = f"of {number(view.of_all)}" if view.matching != view.of_all else ""
    trouble = f"{number(view.alarming)} need attention" if view.alarming else ""
    queues = ("Queues", number(view.matching), ", ".join(filter(None, (of, trouble))))
    names = (("Pending", "pending"), ("In flight", "in_flight"), ("Delayed", "delayed"))
    counted = [(name, *_total(total[field])) for name, field in (*names, ("Dead letters", "dead_letter"))]
    ready, without = _total(total["ready"])
    workers = ("Workers", ready, without or f"ready, {_total(total['wanted'])[0]} wanted")
    return cards([queues, *counted, workers])


def _total(total: Sum) -> tuple[str, str]:
    """With how many it lacks; where nothing is known there is no number."""
    if not total.unknown:
        return number(total.known), ""
    lacks = f"and {number(total.unknown)} not known"
    return (number(total.known), lacks) if total.of_some else (UNKNOWN, "not known")


def _said(view: FleetView, at: float) -> Element:
    if not view.of_all:
        text = "No RedisQueue is served: kubectl get redisqueues says which there are."
    elif not view.lines:
        text = "No queue is like that."
    else:
        first = (min(view.query.page, view.pages) - 1) * PAGE_ROWS + 1
        text = f"{number(first)} to {number(first + len(view.lines) - 1)} of {number(view.matching)}"
    marks = legend(SPARKS) if view.lines else None
    return classed("div", "said", text, marks, classed("span", "at", f"as of {clock(at)} UTC"))


def _filter(query: Query) -> Element:
    chosen = {query.show: "selected"}
    options = (
        element(
            "option",
            {"value": name, "selected": chosen.get(name)},
            SHOWN_TEXTS[name],
        )
        for name in SHOWN
    )
    field = {"id": "q", "name": "q", "type": "search", "value": query.text, "maxlength": "200"}
    hidden = {"sort": query.sort, **({} if query.refresh else {"refresh": "off"})}
    return element(
        "form",
        {"method": "get", "action": "?", "class": "filter", "role": "search"},
        element("label", {"for": "q"}, "Name"),
        element("input", {**field, "placeholder": "namespace/name"}),
        element("label", {"for": "show"}, "Show"),
        element("select", {"id": "show", "name": "show"}, *options),
        *(element("input", {"type": "hidden", "name": name, "value": text}) for name, text in hidden.items()),
        element("button", {"type": "submit"}, "Filter"),
    )


def refresh_link(query: Query) -> Element:
    """To have the page stand still, or go on."""
    text = "Stop refreshing" if query.refresh else "Refresh by itself"
    return link("", query.changed(refresh="off" if query.refresh else None), text, **{"class": "toggle"})


def _table(view: FleetView) -> Element:
    cells = []
    for sort, name, class_, hint in COLUMNS:
        now = view.query.sort == sort
        order = ("ascending" if sort in ("name", "state") else "descending") if now else None
        to = link("", view.query.changed(sort=sort, page=None), name)
        attributes = {"scope": "col", "class": class_ or None, "title": hint or None, "aria-sort": order}
        cells.append(element("th", attributes, to))
    cells.append(element("th", {"scope": "col"}, "Last hour"))
    return table(
        "queues", element("tr", None, *cells), (_row(line, view.query) for line in view.lines), "fleet"
    )


def _row(line: QueueLine, query: Query) -> Element:
    key = line.key
    address = f"queues/{quote(key.namespace, safe='')}/{quote(key.name, safe='')}"
    name = link(address, {} if query.refresh else {"refresh": "off"}, foreign(key.name))
    dead = "alarm" if line.dead_letter else ""
    return element(
        "tr",
        None,
        element("th", {"scope": "row"}, name, classed("small", "space", foreign(key.namespace))),
        _state(line),
        figure(number(line.pending)),
        figure(number(line.in_flight)),
        figure(number(line.delayed), "extra"),
        figure(number(line.failed), "extra"),
        figure(number(line.dead_letter), dead),
        figure(age(line.oldest_age_seconds), "extra", "not known"),
        figure(rate(line.arrivals_per_second), "extra", "not known yet"),
        figure(rate(line.claims_per_second), "extra", "not known yet"),
        figure(workers(line), "", "not known"),
        element("td", {"class": "hour"}, _spark(line)),
    )


def workers(line: QueueLine) -> str:
    """Ready / wanted."""
    if line.ready is None and line.wanted is None:
        return UNKNOWN
    return f"{number(line.ready)}\u202f/\u202f{number(line.wanted)}"


def state_badge(line: QueueLine) -> Element:
    """The word for a queue."""
    return badge(line.state, LEVELS.get(line.state, "idle"))


def _state(line: QueueLine) -> Element:
    trouble = line.trouble
    if trouble is None:
        return element("td", None, state_badge(line))
    text = trouble.message or trouble.reason
    short = text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"
    said = classed("small", "trouble", foreign(f"{trouble.reason}: {short}"))
    return element("td", {"class": "state"}, state_badge(line), said)


def _spark(line: QueueLine) -> Element:
    waiting, wanted = (
        curve._replace(values=values)
        for curve, values in zip(SPARKS, (line.waiting_series, line.wanted_series), strict=True)
    )
    said = f"at most {number(highest([waiting]))} waiting, {number(highest([wanted]))} workers wanted"
    known = any(value is not None for value in line.waiting_series)
    return spark([waiting, wanted], f"In the last hour: {said}" if known else "In the last hour: not known")


def _pager(view: FleetView) -> Element:
    page = min(view.query.page, view.pages)
    if view.pages == 1:
        return element("nav", {"aria-label": "pages", "class": "pager"})
    before = link("", view.query.changed(page=page - 1), "Previous", rel="prev") if page > 1 else None
    after = link("", view.query.changed(page=page + 1), "Next", rel="next") if page < view.pages else None
    return element(
        "nav", {"aria-label": "pages", "class": "pager"}, before, f"Page {page} of {view.pages}", after
    )
