"""The page about what is wrong has a row for every reason that a condition can have, of each kind."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from redisqueue_operator.decide.budget import REASONS
from redisqueue_operator.decide.status import ready
from redisqueue_operator.observe.facts import HINDRANCES, NOT_IN_FORCE
from redisqueue_operator.observe.redis import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(errors.__file__).parents[2]
PAGE = PACKAGE.parent / "docs" / "troubleshooting.md"
PLACES = {
    "Condition": 1,
    "Readiness": 1,
    "RedriveState": 1,
    "waiting": 0,
    "failed": 0,
    "_kept": 0,
    "QueueUnusable": 0,
    "MatchError": 0,
    "SettingsUnavailable": 0,
}
"""Which argument of what is called is a reason."""


def said_in(*patterns: str) -> set[str]:
    """The reasons in the modules of the package that one of the patterns names."""
    modules = [path for pattern in patterns for path in PACKAGE.glob(pattern)]
    return {
        word
        for path in modules
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for word in _reasons(node)
    }


def _reasons(node: ast.AST) -> Iterator[str]:
    """Of a call, a verdict (status, reason, message), or a problem (reason, message)."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in PLACES:
            yield from _words(args[PLACES[name]])
        case ast.Tuple(elts=[ast.Constant(value="True" | "False" | True | False), reason, _]):
            yield from _words(reason)
        case ast.Tuple(elts=[ast.Constant(value=str()) as reason, ast.Name() | ast.JoinedStr()]):
            yield from _words(reason)


def _words(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(word)) if word not in ("", "True", "False"):
            yield word
        case ast.IfExp(body=one, orelse=other):
            yield from (*_words(one), *_words(other))


def rows_of(*headings: str) -> set[str]:
    """The words in the rows of the page's sections, of all of them without a heading."""
    sections = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    chosen = [text for text in sections if not headings or text.partition("\n")[0] in headings]
    rows = "\n".join(re.findall(r"^\| `.*", "\n".join(chosen), flags=re.MULTILINE))
    return set(re.findall("`([A-Za-z]+)`", rows))


def test_every_reason_of_a_redisqueue_has_a_row() -> None:
    said = said_in("decide/status/ready.py", "decide/status/conditions.py")
    assert {"Healthy", "DeadLetters", "Stable", "PodsFailing", "Idle"} <= said, "it still finds them"
    said |= {*ready.NEEDS_SOMEBODY, *ready.DERIVED, *HINDRANCES, *NOT_IN_FORCE}
    assert said - rows_of() == set()


def test_every_reason_why_redis_cannot_be_reached_has_a_row() -> None:
    said = said_in("observe/**/*.py") - said_in("observe/follow.py")
    assert {"SecretMissing", "UrlMissing"} <= said, "it still finds them"
    assert (said | {*errors._SENTENCES}) - rows_of("RedisReachable") == set()


def test_every_reason_of_a_redisqueuebudget_has_a_row() -> None:
    said = said_in("budget/*.py")
    assert {"InForce", "Scarce", "NoOverlap", "InvalidSpec", "NotStalled"} <= said, "it still finds them"
    assert (said | {*REASONS}) - rows_of("RedisQueueBudget") == set()


def test_every_reason_of_a_redisqueueschedule_has_a_row() -> None:
    said = said_in("schedule/*.py", "local/schedules.py", "observe/follow.py")
    assert {"Scheduled", "TickMissed", "ApiError", "QueueMissing"} <= said, "it still finds them"
    assert said - rows_of("RedisQueueSchedule") == set()


def test_every_reason_of_a_redisqueueredrive_has_a_row() -> None:
    said = said_in("redrive/*.py", "observe/follow.py")
    assert {"Moved", "Counted", "Queued", "MatchEnded", "QueueMissing"} <= said, "it still finds them"
    assert said - rows_of("RedisQueueRedrive") == set()
