"""`redisqueue drain`: no worker of a RedisQueue any more, until `--resume`; what runs finishes first.

It fixes `spec.replicas` at 0, as `kubectl scale` does, and waits for the last worker to go. Messages stay in
Redis. `--resume` gives the number back to the rules.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from redisqueue_operator.cli.kubectl import Kubectl, add_cluster
from redisqueue_operator.cli.options import UserError, count
from redisqueue_operator.cli.screen import Screen

if TYPE_CHECKING:
    import argparse

    from redisqueue_operator.cli.options import Subcommands

LOOK_SECONDS = 1.0
SELECTOR = "redisqueue.dev/queue="


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("drain", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="the RedisQueue's name")
    parser.add_argument("--resume", action="store_true", help="let the rules choose the number again")
    parser.add_argument(
        "--timeout", type=count, default=600, metavar="SECONDS", help="give up waiting then (default: 600)"
    )
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write one number and wait. Raises UserError when workers are left after the timeout."""
    kubectl = Kubectl(options)
    replicas = None if options.resume else 0
    patch = json.dumps({"spec": {"replicas": replicas}})
    kubectl.run("patch", "redisqueue", options.name, "--type=merge", f"--patch={patch}")
    if options.resume:
        print(f"{options.name}: the number of workers follows the queue again")
        return 0
    screen, deadline = Screen(), time.monotonic() + options.timeout
    while left := kubectl.get("pods", f"--selector={SELECTOR}{options.name}")["items"]:
        names = ", ".join(pod["metadata"]["name"] for pod in left[:5])
        if time.monotonic() > deadline:
            raise UserError(f"{len(left)} workers are still there after {options.timeout} s: {names}")
        screen.draw([f"{options.name}: {len(left)} workers finish what they run: {names}"])
        time.sleep(LOOK_SECONDS)
    print(f"{options.name}: no worker is left; `redisqueue drain {options.name} --resume` brings them back")
    return 0
