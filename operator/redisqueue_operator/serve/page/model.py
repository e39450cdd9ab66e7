"""What the page shows, as plain data: from the history of the queues and what was asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from redisqueue_operator.serve.page.history import Flow, Gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from redisqueue_operator.api.model import Key
    from redisqueue_operator.observe.redis.letters import Letters
    from redisqueue_operator.serve.page.history import Change, PageHistory, QueueHistory

PAGE_ROWS = 50
LONGEST_QUERY = 200
Series = tuple[float | None, ...]
GOOD_WHEN_FALSE = ("Degraded", "Stalled", "Reconciling", "Paused")
ALARMING = ("RedisReachable", "Stalled", "Degraded", "Ready", "RedisDurable")
"""The conditions that say that somebody should look, what explains the others first."""


class ConditionLine(NamedTuple):
    """One condition of a RedisQueue; `alarms` when somebody should look."""

    kind: str
    status: str
    reason: str
    message: str
    since: str
    alarms: bool


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A row of the table. Unknown is None."""

    key: Key
    state: str
    trouble: ConditionLine | None
    """The first condition that says that somebody should look."""
    pending: int | None
    in_flight: int | None
    delayed: int | None
    failed: int | None
    dead_letter: int | None
    arrivals_per_second: float | None
    claims_per_second: float | None
    oldest_age_seconds: float | None
    ready: int | None
    wanted: int | None
    waiting_series: Series = ()
    wanted_series: Series = ()


class Sum(NamedTuple):
    """A total, and of how many queues the number is not known."""

    known: float
    unknown: int
    of_some: bool
    """Whether it is known of any."""


class QueryError(ValueError):
    """A part of the query that cannot be, by its name and with its value."""


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for."""

    text: str = ""
    show: str = "all"
    sort: str = "name"
    page: int = 1
    refresh: bool = True

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> Query:
        """From a URL: what is left out is as usual, unknown parts are passed over. Raises QueryError."""
        text, show, sort = asked.get("q", "").strip(), asked.get("show", "all"), asked.get("sort", "name")
        if len(text) > LONGEST_QUERY:
            raise QueryError(f"q: {len(text)} characters are more than {LONGEST_QUERY}")
        if show not in SHOWN:
            raise QueryError(f"show: {show[:LONGEST_QUERY]!r} is none of {', '.join(SHOWN)}")
        if sort not in SORTS:
            raise QueryError(f"sort: {sort[:LONGEST_QUERY]!r} is none of {', '.join(SORTS)}")
        page = asked.get("page", "1")
        if not (page.isascii() and page.isdigit() and len(page) < 7 and int(page)):
            raise QueryError(f"page: {page[:LONGEST_QUERY]!r} is no number from 1 on")
        return cls(text, show, sort, int(page), asked.get("refresh") != "off")

    def changed(self, **parts: str | int | None) -> dict[str, str]:
        """The query of a URL that asks for the same but these; what is as usual is left out."""
        usual = Query()
        asked = {"q": self.text, "show": self.show, "sort": self.sort, "page": self.page}
        asked["refresh"] = "" if self.refresh else "off"
        default = {"q": usual.text, "show": usual.show, "sort": usual.sort, "page": 1, "refresh": ""}
        asked |= {name: default[name] if value is None else value for name, value in parts.items()}
        return {name: str(value) for name, value in asked.items() if value != default[name]}


@dataclass(frozen=True, slots=True)
class FleetView:
    """The table, and what is above it."""

    query: Query
    lines: tuple[QueueLine, ...]
    """Of this page."""
    matching: int
    of_all: int
    pages: int
    alarming: int
    """How many of those that match need somebody to look."""
    totals: Mapping[str, Sum]


@dataclass(frozen=True, slots=True)
class QueueView:
    """One RedisQueue, with all that is known."""

    line: QueueLine
    conditions: tuple[ConditionLine, ...]
    series: Mapping[Gauge | Flow, Series]
    changes: tuple[tuple[float, Change], ...]
    """The newest first, with the seconds since each."""
    known_for_seconds: float
    """Changes before that were another operator's, or there was none to see them."""
    explained: tuple[str, ...] = ()
    letters: Mapping[str, Letters] = field(default_factory=dict)
    """Of dead letters and failed messages, why they were given up."""


def fleet_view(history: PageHistory, query: Query) -> FleetView:
    """What the page of all queues shows."""
    now = history.clock()
    wanted = SHOWN[query.show]
    text = query.text.casefold()
    found = [
        (line_of(key, seen, now), seen)
        for key, seen in history.queues.items()
        if text in f"{key.namespace}/{key.name}".casefold()
    ]
    found = sorted((each for each in found if wanted(each[0])), key=lambda each: SORTS[query.sort](each[0]))
    pages = max(1, -(-len(found) // PAGE_ROWS))
    first = (min(query.page, pages) - 1) * PAGE_ROWS
    lines = [line for line, _ in found]
    return FleetView(
        query=query,
        lines=tuple(line_of(line.key, seen, now, series=True) for line, seen in found[first:][:PAGE_ROWS]),
        matching=len(found),
        of_all=len(history.queues),
        pages=pages,
        alarming=sum(line.trouble is not None for line in lines),
        totals={name: _sum(getattr(line, name) for line in lines) for name in TOTALS},
    )


def queue_view(
    history: PageHistory, key: Key, explained: Sequence[str], letters: Mapping[str, Letters]
) -> QueueView | None:
    """What the page of one queue shows; None when it is not known."""
    if (seen := history.queues.get(key)) is None:
        return None
    now = history.clock()
    return QueueView(
        line=line_of(key, seen, now, series=True),
        conditions=_conditions(seen),
        series={what: tuple(seen.ring.series(now, what)) for what in (*Gauge, *Flow)},
        changes=tuple((now - change.at, change) for change in reversed(seen.changes)),
        known_for_seconds=now - seen.began_at,
        explained=tuple(explained),
        letters=letters,
    )


def line_of(key: Key, seen: QueueHistory, now: float, *, series: bool = False) -> QueueLine:
    """One row; its plots cost more than all the rest and are made for those that are shown."""
    observation, decision = seen.observation, seen.decision
    queue = observation.queue if observation is not None else None
    rates = decision.rates if decision is not None and queue is not None else None
    alarming = {each.kind: each for each in _conditions(seen) if each.alarms}
    return QueueLine(
        key=key,
        state=seen.state,
        trouble=next((alarming[kind] for kind in ALARMING if kind in alarming), None),
        pending=queue.pending if queue else None,
        in_flight=queue.in_flight if queue else None,
        delayed=queue.delayed if queue else None,
        failed=queue.failed if queue else None,
        dead_letter=queue.dead_letter if queue else None,
        arrivals_per_second=seen.ring.per_second(now, Flow.ARRIVED),
        claims_per_second=seen.ring.per_second(now, Flow.CLAIMED),
        oldest_age_seconds=rates.oldest_age_seconds if rates else None,
        ready=seen.ready,
        wanted=seen.wanted,
        waiting_series=tuple(seen.ring.series(now, Gauge.WAITING)) if series else (),
        wanted_series=tuple(seen.ring.series(now, Gauge.WANTED)) if series else (),
    )


def _conditions(seen: QueueHistory) -> tuple[ConditionLine, ...]:
    return tuple(_condition(each, seen.expected) for each in seen.conditions)


def _condition(raw: Mapping[str, Any], expected: Collection[str]) -> ConditionLine:
    kind, status = str(raw.get("type", "")), str(raw.get("status", "Unknown"))
    reason, message, since = (str(raw.get(each, "")) for each in ("reason", "message", "lastTransitionTime"))
    bad = kind in ALARMING and status == ("True" if kind in GOOD_WHEN_FALSE else "False")
    return ConditionLine(kind, status, reason, message, since, alarms=bad and reason not in expected)


def _sum(values: Iterable[float | None]) -> Sum:
    found = list(values)
    known = [value for value in found if value is not None]
    return Sum(sum(known), len(found) - len(known), bool(known))


def _name(line: QueueLine) -> tuple[str, str]:
    return line.key.namespace, line.key.name


def _most(attribute: str) -> Callable[[QueueLine], Any]:
    """The highest first, the unknown last."""

    def key(line: QueueLine) -> Any:
        value = getattr(line, attribute)
        return value is None, -(value or 0), _name(line)

    return key


TOTALS = ("pending", "in_flight", "delayed", "dead_letter", "ready", "wanted")
SORTS: dict[str, Callable[[QueueLine], Any]] = {
    "name": _name,
    "state": lambda line: (line.trouble is None, line.state, _name(line)),
    "pending": _most("pending"),
    "in-flight": _most("in_flight"),
    "delayed": _most("delayed"),
    "failed": _most("failed"),
    "dead": _most("dead_letter"),
    "in": _most("arrivals_per_second"),
    "out": _most("claims_per_second"),
    "oldest": _most("oldest_age_seconds"),
    "workers": _most("wanted"),
}
SHOWN: dict[str, Callable[[QueueLine], bool]] = {
    "all": lambda _: True,
    "attention": lambda line: line.trouble is not None or bool(line.dead_letter),
    "busy": lambda line: bool(line.pending or line.in_flight or line.ready),
}
