"""`python -m redisqueue_operator.demo [--mode local|cluster]`."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
from typing import TYPE_CHECKING

import redis

from redisqueue_operator import interruptible
from redisqueue_operator.cli.screen import LogLine, Screen, ScreenHandler
from redisqueue_operator.demo.checks import checks
from redisqueue_operator.demo.corpus import input_line, standard_library
from redisqueue_operator.demo.driver import Driver
from redisqueue_operator.demo.stage import StageError, cluster_stage, local_stage
from redisqueue_worker.embedded_redis import BY_DESIGN, NoServerFound
from redisqueue_worker.orphans import end_children_with_me

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACES = {
    "local": "Local mode: worker processes of this machine in place of pods, an embedded Valkey.",
    "cluster": "Cluster mode: worker pods, scaled by the operator that is installed there.",
}
EXPECTED = (StageError, NoServerFound, redis.RedisError, OSError)
NEXT_STEP = "The same on Kubernetes: make demo MODE=cluster"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when every check holds, 1 when not or when it gets stuck, 128 + n after a signal."""
    parser = argparse.ArgumentParser(prog="python -m redisqueue_operator.demo", description=__doc__)
    parser.add_argument(
        "--mode", choices=sorted(PLACES), default="local", help="where the workers run (default: local)"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="take only the first N files")
    parser.add_argument(
        "--verbose", action="store_true", help="show what the workers print, not only their mishaps"
    )
    options = parser.parse_args(argv)
    end_children_with_me()
    try:
        return interruptible.run(demo(options))
    except Exception as error:
        causes = leaves(error)
        if not all(isinstance(cause, EXPECTED) for cause in causes):
            raise
        print(*(f"demo: {cause}" for cause in causes), sep="\n", file=sys.stderr)
        return 1


async def demo(options: argparse.Namespace) -> int:
    """Set the stage, play, judge, clear up."""
    began = time.monotonic()
    screen = Screen()
    logging.basicConfig(handlers=[ScreenHandler(screen)], level=logging.WARNING, format="%(message)s")
    files = standard_library(options.limit)
    run = f"stdlib-demo-{secrets.token_hex(3)}"
    screen.say(PLACES[options.mode])
    screen.say(f"Input: {input_line(files)}.\n")

    def say(worker: str, line: str) -> None:
        read = LogLine.read(line)
        loud = read.loud and read.reason not in BY_DESIGN
        if options.verbose or loud or "starts again in" in line:
            screen.say(f"{worker} | {read.text}")

    setting = local_stage(run, say) if options.mode == "local" else cluster_stage(run)
    async with setting as stage:
        outcome = await Driver(run, stage, files, screen).play()
    verdicts = checks(outcome)
    screen.say()
    for check in verdicts:
        screen.say(f"  {'ok  ' if check.ok else 'FAIL'}  {check.text}")
    ok = all(check.ok for check in verdicts)
    verdict = "All checks hold" if ok else "A check FAILED"
    screen.say(f"\n{verdict}, after {time.monotonic() - began:.1f} s; everything is cleaned up.")
    if options.mode == "local":
        screen.say(NEXT_STEP)
    return 0 if ok else 1


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside nested groups; the error itself when it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves(part)]


def positive(text: str) -> int:
    """An int above zero, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
