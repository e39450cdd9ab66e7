"""The page of one queue: model in, HTML out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redisqueue_operator.serve.page.elements import classed, element
from redisqueue_operator.serve.page.fleet_page import refresh_link, state_badge
from redisqueue_operator.serve.page.frame import NOT_KNOWN, badge, cards, foreign, framed, heads, link, table
from redisqueue_operator.serve.page.history import BIN_SECONDS, BINS, Flow, Gauge
from redisqueue_operator.serve.page.model import GOOD_WHEN_FALSE
from redisqueue_operator.serve.page.plots import Curve, ceiling, highest, legend, plot
from redisqueue_operator.serve.page.words import UNKNOWN, age, clock, duration, minute, number, rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from xml.etree.ElementTree import Element

    from redisqueue_operator.serve.page.model import ConditionLine, Query, QueueView


TICKS = 5
PLOTS: tuple[tuple[str, str, tuple[tuple[str, str, Gauge | Flow], ...]], ...] = (
    (
        "Backlog",
        "messages, the most in each half minute",
        (("waiting", "area-1", Gauge.WAITING), ("in flight", "line-3", Gauge.IN_FLIGHT)),
    ),
    (
        "Workers",
        "what was decided, and what there was",
        (("ready", "area-4", Gauge.READY), ("wanted", "line-2", Gauge.WANTED)),
    ),
    (
        "Rates",
        "messages a second",
        (("arrive", "line-1", Flow.ARRIVED), ("claimed", "line-2 dashed", Flow.CLAIMED)),
    ),
)


def queue_page(view: QueueView, query: Query, at: float, first_bin_at: float, foot: str) -> str:
    """The whole page; times in seconds since the epoch, `first_bin_at` when the plots begin."""
    line = view.line
    title = f"{line.key.namespace}/{line.key.name}"
    back = link("../../", {} if query.refresh else {"refresh": "off"}, "RedisQueue")
    crumbs = [classed("p", "brand", back), element("h1", None, foreign(title)), refresh_link(query)]
    live = [
        classed("p", "said", state_badge(line), classed("span", "at", f"as of {clock(at)} UTC")),
        _trouble(line.trouble),
        _cards(view),
        classed("div", "charts", *_charts(view, first_bin_at)),
        classed("div", "columns", _why(view), _changes(view, at), *_letters(view)),
        _conditions(view),
    ]
    return framed(f"{title} · RedisQueue", crumbs, (), live, foot=foot, refresh=query.refresh)


def _trouble(trouble: ConditionLine | None) -> Element | None:
    if trouble is None:
        return None
    return classed("p", "banner", element("strong", None, trouble.reason), " ", foreign(trouble.message))


def _cards(view: QueueView) -> Element:
    line = view.line
    lost = NOT_KNOWN if line.pending is None else ""
    counted = (
        ("Pending", line.pending),
        ("In flight", line.in_flight),
        ("Delayed", line.delayed),
        ("Failed", line.failed),
        ("Dead letters", line.dead_letter),
    )
    arrive, claimed = rate(line.arrivals_per_second), rate(line.claims_per_second)
    return cards(
        [
            *((name, number(value), lost if name == "Pending" else "") for name, value in counted),
            ("Oldest waits", age(line.oldest_age_seconds), ""),
            ("Arrive", arrive, "" if arrive == UNKNOWN else "a second"),
            ("Claimed", claimed, "" if claimed == UNKNOWN else "a second"),
            ("Workers", number(line.ready), f"ready, {number(line.wanted)} wanted"),
        ]
    )


def _charts(view: QueueView, first_bin_at: float) -> Iterator[Element]:
    for name, said, parts in PLOTS:
        curves = [Curve(text, style, view.series[what]) for text, style, what in parts]
        words = rate if isinstance(parts[0][2], Flow) else number
        top = ceiling(highest(curves))
        most = ", ".join(f"{curve.name} {words(highest([curve]))}" for curve in curves)
        drawing = plot(
            curves, f"{name} in the last hour, at most: {most}", _told(curves, words, first_bin_at)
        )
        scale = (words(top), words(top / 2), words(0)) if top > 1 or words is rate else ("1", "", "0")
        times = (minute(first_bin_at + BINS * BIN_SECONDS * tick / (TICKS - 1)) for tick in range(TICKS))
        yield classed(
            "figure",
            "chart",
            element(
                "figcaption", None, element("h2", None, name), classed("small", "", said), legend(curves)
            ),
            element("ol", {"class": "scale", "aria-hidden": "true"}, *_items(scale)),
            drawing,
            element("ol", {"class": "times", "aria-hidden": "true"}, *_items(times)),
        )


def _items(texts: Iterable[str]) -> Iterator[Element]:
    return (element("li", None, text) for text in texts)


def _told(
    curves: list[Curve], words: Callable[[float | None], str], first_bin_at: float
) -> Callable[[int], str]:
    def told(place: int) -> str:
        values = ", ".join(f"{curve.name} {words(curve.values[place])}" for curve in curves)
        return f"{clock(first_bin_at + place * BIN_SECONDS)}: {values}"

    return told


def _why(view: QueueView) -> Element:
    lines = (element("li", None, foreign(text)) for text in view.explained)
    return classed("section", "why", element("h2", None, "Why so many workers"), element("ul", None, *lines))


def _changes(view: QueueView, at: float) -> Element:
    rows = []
    for ago, change in view.changes:
        when = element("td", None, clock(at - ago), classed("small", "remark", f"{duration(ago)} ago"))
        numbers = classed("td", "number", f"{number(change.before)} → {number(change.after)}")
        rows.append(element("tr", None, when, numbers, element("td", None, foreign(change.reason))))
    title = element("h2", None, "Latest changes")
    since = f"{clock(at - view.known_for_seconds)} UTC, when this operator began to look after it."
    if not rows:
        text = f"The number of workers has not changed since {since}"
        return element("section", None, title, element("p", None, text))
    shown = table("changes", heads("At", "#Workers", "Because of"), rows)
    return element("section", None, title, shown, classed("p", "remark", f"Known since {since}"))


def _letters(view: QueueView) -> Iterator[Element]:
    why = next((found.unknown for found in view.letters.values() if found.unknown), "")
    if why or not any(found.by_reason for found in view.letters.values()):
        none = view.line.dead_letter == 0 and view.line.failed == 0
        text = f"Not known: {why}" if why else "There are none." if none else "None has a reason on record."
        yield element("section", None, element("h2", None, "Letters by reason"), element("p", None, text))
        return
    for source, found in view.letters.items():
        title = element("h2", None, f"{source.capitalize()} by reason")
        if not found.by_reason:
            continue
        most = found.by_reason[0][1]
        rows = [
            element(
                "tr",
                None,
                element("td", None, foreign(reason)),
                classed("td", "number", number(count)),
                element("td", None, element("meter", {"value": str(count), "max": str(most)}, number(count))),
            )
            for reason, count in found.by_reason
        ]
        said = f"Of the latest {number(found.read)} that workers have on record."
        listed = table(f"{source} by reason", heads("Reason", "#Letters", "Share"), rows)
        yield element("section", None, title, listed, classed("small", "remark", said))


def _level(condition: ConditionLine) -> str:
    if condition.alarms:
        return "bad"
    fine = condition.kind not in GOOD_WHEN_FALSE
    return {"True": "good" if fine else "busy", "False": "warn" if fine else "idle"}.get(
        condition.status, "idle"
    )


def _conditions(view: QueueView) -> Element:
    rows = (
        element(
            "tr",
            None,
            element("th", {"scope": "row"}, each.kind),
            element("td", None, badge(each.status, _level(each))),
            element("td", None, foreign(each.reason)),
            element("td", {"class": "text"}, foreign(each.message)),
            element("td", None, each.since.replace("T", " ").replace("Z", " UTC")),
        )
        for each in view.conditions
    )
    header = heads("Condition", "Status", "Reason", "Message", "Since")
    return element("section", None, element("h2", None, "Conditions"), table("conditions", header, rows))
