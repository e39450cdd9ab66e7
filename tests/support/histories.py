"""How many random histories are run, and which."""

from __future__ import annotations

import os
from collections import Counter
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

if TYPE_CHECKING:
    from tests.support.faulty_redis import Wire
    from tests.support.queue_machine import QueueMachine

_LONGER = int(os.environ.get("MODEL_STEPS", "0"))
TIMEOUT_SECONDS = 600 + _LONGER // 25
_STEPS_IN_HISTORY = 50
_FEWEST_ON_AVERAGE = 26  # a history may end early


def run_histories(machine: type[QueueMachine], wire: Wire, steps: int, **attributes: Any) -> None:
    """Run at least `steps` steps of a machine with these attributes, the same in each like run.

    Not across changes: Hypothesis tries the constants of whatever modules of ours are imported.

    With MODEL_STEPS=<number> that many instead, others in each run; a failure prints how to have it again.
    """
    wanted = _LONGER or steps
    done: Counter[str] = Counter()
    settled = settings(
        max_examples=-(-wanted // _FEWEST_ON_AVERAGE),
        stateful_step_count=_STEPS_IN_HISTORY,
        derandomize=not _LONGER,
        database=None,
        deadline=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    # In a context of its own: a history may end within a handler, whose message is the current one there.
    copy_context().run(
        run_state_machine_as_test,
        type(machine.__name__, (machine,), {"wire": wire, "steps": done, **attributes}),
        settings=settled,
    )
    # The check runs once more in each history: before its first step.
    made = done["checks"] - done["histories"]
    print(f"{machine.__name__}: {made} steps in {done['histories']} histories")
    assert made >= wanted
