"""The page about what is wrong has a row for every reason that a condition can have."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from redisqueue_operator.decide.status import ready
from redisqueue_operator.observe.facts import HINDRANCES, NOT_IN_FORCE
from redisqueue_operator.observe.redis import errors

PACKAGE = Path(errors.__file__).parents[2]
PAGE = PACKAGE.parent / "docs" / "troubleshooting.md"
CONDITIONS = ("ready.py", "conditions.py")


def said_in_code() -> set[str]:
    """The second word of each `Condition(status, reason, message)`, and the first of each problem."""
    found = set()
    for name in CONDITIONS:
        tree = ast.parse((PACKAGE / "decide" / "status" / name).read_text("utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="Condition"), args=[_, ast.Constant(value=str(reason)), _]):
                    found.add(reason)
                case ast.Tuple(elts=[ast.Constant(value=str(reason)), ast.Name() | ast.JoinedStr()]):
                    found.add(reason)
    return found


def test_every_reason_has_a_row() -> None:
    said = said_in_code()
    assert {"Healthy", "DeadLetters", "Stable", "PodsFailing", "Idle"} <= said, "it still finds them"
    said |= {*ready.NEEDS_SOMEBODY, *ready.DERIVED, *HINDRANCES, *NOT_IN_FORCE, *errors._SENTENCES}
    page = PAGE.read_text("utf-8")
    rows = "\n".join(line for line in page.splitlines() if line.startswith("| `"))
    assert said - set(re.findall("`([A-Za-z]+)`", rows)) == set()
