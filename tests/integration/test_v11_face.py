"""What a program can say to redis-message-queue 11.0.1 it can say to ours, but for what the page tells."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_v7_face import OURS, told_by
from tests.support.v7 import require_v11, v11_python

import redis_message_queue
import redis_message_queue.asyncio

pytestmark = pytest.mark.interop

PAGE = Path(__file__).parents[2] / "worker" / "docs" / "coming-from-redis-message-queue.md"
# Defaults that stay those of 7.0.0, so that a program of 7 means what it did; the page tells of each.
OTHER_DEFAULTS = {
    "RedisMessageQueue.__init__": {"max_completed_length", "max_failed_length", "get_deduplication_key"},
}
# Made by the library, and read by name.
READ_ALONE = {"QueueStats.__init__", "QueueEvent.__init__"}


@pytest.fixture(scope="module", params=["redis_message_queue", "redis_message_queue.asyncio"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    require_v11()
    ours = f"import sys, runpy; sys.path.insert(0, {str(OURS)!r}); del sys.argv[0];"
    ours += "import redis_message_queue as r, redis_message_queue.asyncio as a;"
    ours += "r.__all__ = a.__all__ = [*r._HOMES];"
    ours += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return (
        told_by([str(v11_python()), "-I"], request.param),
        told_by([sys.executable, "-P", "-c", ours], request.param),
        redis_message_queue.asyncio if "asyncio" in request.param else redis_message_queue,
    )


def test_every_name_is_there(both: tuple[Any, Any, Any]) -> None:
    theirs, _, face = both
    assert [name for name in theirs["names"] if not hasattr(face, name)] == []


def test_every_error_is_what_it_was(both: tuple[Any, Any, Any]) -> None:
    theirs, ours, _ = both
    for name, bases in theirs["bases"].items():
        assert set(bases) - {"object"} <= set(ours["bases"][name]), name


def test_every_method_takes_the_same_arguments(both: tuple[Any, Any, Any]) -> None:
    theirs, ours, _ = (told["signatures"] if isinstance(told, dict) else told for told in both)
    assert len(theirs) > 30
    for member, (*known, kind) in theirs.items():
        if member in READ_ALONE:
            continue
        *parameters, our_kind = ours[member]
        assert our_kind == kind, member
        others = OTHER_DEFAULTS.get(member, set())
        missing = {one for one in known if one not in parameters and one.partition(",")[0] not in others}
        assert not missing, member


def test_the_page_tells_of_each_default_that_differs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in OTHER_DEFAULTS["RedisMessageQueue.__init__"]:
        assert re.search(rf"^\| `[^|]*{name}[^|]*\| default", page, re.MULTILINE), name
