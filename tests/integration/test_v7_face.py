"""The face is that of 7.0.0: the same names, parameters and defaults, and the same verdict on odd arguments.

Both libraries run one program, so nothing here is written from memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from tests.support.face_verdicts import VALUES
from tests.support.v7 import require_v7, v7_python
from tests.support.waiting import PATIENCE_SECONDS

import redis_message_queue

PROGRAM = Path(__file__).parents[1] / "support" / "face_verdicts.py"
OURS = Path(redis_message_queue.__file__).parent.parent
# What differs on purpose; each is in the table "Compatibility with v7" of the library's page.
DIFFERENT = {
    f"{cls} pending_overload_policy #{VALUES.index('block')}" for cls in ("RedisMessageQueue", "RedisGateway")
} | {
    f"{argument} #{VALUES.index(10**30)}"
    for argument in (
        "RedisMessageQueue visibility_timeout_seconds",
        "RedisGateway message_visibility_timeout_seconds",
        "RedisGateway message_deduplication_log_ttl_seconds",
    )
}
# A length alone is how versions 8 to 11 switch a history on, and 0 how they switch it off.
DIFFERENT |= {
    f"RedisMessageQueue max_{kind}_length #{number}"
    for kind in ("completed", "failed")
    for number, value in enumerate(VALUES)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 and value != 1000
}
_ASYNC_DOUBLE = next(number for number, value in enumerate(VALUES) if isinstance(value, AsyncMock))
DIFFERENT_IN_THE_SYNC_FACE = {
    f"RedisMessageQueue client #{_ASYNC_DOUBLE}",
    f"RedisGateway redis_client #{_ASYNC_DOUBLE}",
}

pytestmark = pytest.mark.interop


def told_by(command: list[str], package: str) -> Any:
    done = subprocess.run(
        [*command, str(PROGRAM), package],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        cwd=OURS,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=["redis_message_queue", "redis_message_queue.asyncio"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    require_v7()
    ours = f"import sys, runpy; sys.path.insert(0, {str(OURS)!r}); del sys.argv[0];"
    ours += "runpy.run_path(sys.argv[0], run_name='__main__')"
    return (
        told_by([str(v7_python()), "-I"], request.param),
        told_by([sys.executable, "-P", "-c", ours], request.param),
    )


def test_the_names_are_the_same(both: tuple[Any, Any]) -> None:
    theirs, ours = both
    assert ours["names"] == theirs["names"]
    assert ours["bases"] == theirs["bases"]


def test_parameters_order_and_defaults_are_the_same_and_ours_come_last(both: tuple[Any, Any]) -> None:
    theirs, ours = (told["signatures"] for told in both)
    for member, (*known, kind) in theirs.items():
        *parameters, our_kind = ours[member]
        assert (parameters[: len(known)], our_kind) == (known, kind), member
        assert all("inspect._empty" not in added for added in parameters[len(known) :]), member


def test_every_argument_gets_the_same_verdict(both: tuple[Any, Any], request: pytest.FixtureRequest) -> None:
    different = DIFFERENT
    if request.node.callspec.params["both"] == "redis_message_queue":
        different = DIFFERENT | DIFFERENT_IN_THE_SYNC_FACE
    theirs, ours = (told["verdicts"] for told in both)
    compared = theirs.keys() & ours.keys()
    assert len(compared) > 1000
    assert {case for case in compared if theirs[case] != ours[case]} == different
