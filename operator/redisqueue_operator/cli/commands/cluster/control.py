"""`redisqueue pause`, `resume`, `scale` and `drain`: who chooses the number of workers of a RedisQueue."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.kubectl import Kubectl, add_cluster, of_queue, plain_name
from redisqueue_operator.cli.options import UserError, add_json, count
from redisqueue_operator.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from redisqueue_operator.cli.options import Subcommands

    Object = dict[str, Any]

PAUSE = """The number of workers stays as it is, whatever is in the queue.

It sets spec.scaling.mode to Paused; workers go on with their work, and one that dies is replaced. What the
mode was is kept in the annotation redisqueue.dev/resume-mode. `drain` stops the workers, `resume` undoes
both.
"""
RESUME = """The rules choose the number of workers again: undoes `pause`, `scale` and `drain`.

It removes spec.replicas, and spec.scaling.mode becomes what it was before `pause`. Another mode (UpOnly,
External, …) stays; with External spec.replicas, too, which is the other autoscaler's: it is off without.
"""
SCALE = """A fixed number of workers, until `resume`.

It sets spec.replicas, as `kubectl scale` does. More than spec.scaling.maxReplicas is refused.
"""
DRAIN = """No worker any more, until `resume`; what runs finishes first.

It fixes `spec.replicas` at 0, as `kubectl scale` does, and waits for the last worker to go. Messages stay in
Redis. `--resume` gives the number back to the rules, as `resume` does.
"""
WAIT = {"drain": "until the last worker is gone, which it does anyway"}
FORMER_MODE = "redisqueue.dev/resume-mode"
LOOK_SECONDS = 1.0
SHAPE = "an object: name, namespace, mode, replicas (null: the rules choose), desired, ready (null: unknown)"


def add_to(subcommands: Subcommands) -> None:
    """Declare the commands."""
    declare(subcommands, "pause", PAUSE, run_pause)
    declare(subcommands, "resume", RESUME, run_resume)
    parser = declare(subcommands, "scale", SCALE, run_scale)
    parser.add_argument("replicas", type=whole, metavar="N", help="how many workers")
    parser = declare(subcommands, "drain", DRAIN, run_drain)
    parser.add_argument("--resume", action="store_true", help="let the rules choose the number again")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for the last worker to go")


def declare(
    subcommands: Subcommands, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """One of them."""
    parser = subcommands.add_parser(name, description=text)
    parser.add_argument("name", metavar="NAME", help="rq/NAME, or the RedisQueue's name")
    parser.add_argument("--wait", action="store_true", help=WAIT.get(name, "until the operator has done so"))
    parser.add_argument(
        "--timeout", type=count, default=600, metavar="SECONDS", help="give up waiting then (default: 600)"
    )
    add_json(parser, SHAPE)
    add_cluster(parser)
    parser.set_defaults(run=run)
    return parser


def whole(text: str) -> int:
    """An int from zero on, for argparse."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def run_pause(options: argparse.Namespace) -> int:
    """Set the mode."""
    target = Target(options)
    mode = target.mode
    former = mode if mode not in ("Auto", "Paused") else None
    kept = {} if mode == "Paused" else {"metadata": {"annotations": {FORMER_MODE: former}}}
    target.patch({**kept, "spec": {"scaling": {"mode": "Paused"}}})
    said = "the number of workers stays as it is, until `resume`"
    if former == "External":
        said += ", or until the other autoscaler writes another one into spec.replicas: pause that, too"
    return target.done(said, lambda: target.paused("True"))


def run_resume(options: argparse.Namespace) -> int:
    """Take away what fixes the number."""
    target = Target(options)
    former = target.annotation(FORMER_MODE)
    mode = former or "Auto" if target.mode == "Paused" else target.mode
    scaling = {"scaling": {"mode": former}} if target.mode == "Paused" else {}
    replicas = {} if mode == "External" else {"replicas": None}
    target.patch({"metadata": {"annotations": {FORMER_MODE: None}}, "spec": {**replicas, **scaling}})
    if mode == "External":
        said = "spec.scaling.mode is External, and the other autoscaler chooses the number"
        if not target.replicas:
            said += f"; where it wakes none from zero, `redisqueue scale rq/{target.name} 1` begins"
        return target.done(said, target.is_observed)
    said = "the number of workers follows the queue again"
    if target.mode not in ("Auto", "UpOnly", "DownOnly"):
        said = f"spec.replicas is gone; spec.scaling.mode is {target.mode}, which still fixes the number"
        return target.done(said, target.is_observed)
    return target.done(said, lambda: target.paused("False"))


def run_scale(options: argparse.Namespace) -> int:
    """Fix the number."""
    target, wanted = Target(options), options.replicas
    target.patch({"spec": {"replicas": wanted}})
    said = f"{wanted} worker{'s' * (wanted != 1)}, until `resume`"
    return target.done(said, lambda: target.is_observed() and target.workers == (wanted, wanted))


def run_drain(options: argparse.Namespace) -> int:
    """Fix the number at none, and wait. Raises UserError when workers are left after the timeout."""
    if options.resume:
        return run_resume(options)
    target = Target(options)
    target.patch({"spec": {"replicas": 0}})
    if options.no_wait:
        return target.told("no worker any more, until `resume`; those there are finish what they run")
    screen, deadline = Screen(), time.monotonic() + options.timeout
    while left := target.kubectl.get("pods", of_queue(target.name))["items"]:
        names = ", ".join(pod["metadata"]["name"] for pod in left[:5])
        if time.monotonic() > deadline:
            raise UserError(f"{len(left)} workers are still there after {options.timeout} s: {names}")
        if not options.json:
            screen.draw([f"{target.name}: {len(left)} workers finish what they run: {names}"])
        time.sleep(LOOK_SECONDS)
    return target.told("no worker is left; `redisqueue resume` brings them back")


class Target:
    """The RedisQueue that is meant, as it was seen last."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.kubectl = Kubectl(options)
        self.name = plain_name(options.name)
        self._options = options
        self._seen = self.kubectl.get("redisqueue", self.name)

    @property
    def mode(self) -> str:
        """spec.scaling.mode."""
        return str(self._seen["spec"].get("scaling", {}).get("mode", "Auto"))

    @property
    def replicas(self) -> int | None:
        """spec.replicas."""
        found: int | None = self._seen["spec"].get("replicas")
        return found

    @property
    def workers(self) -> tuple[int | None, int | None]:
        """How many are wanted and how many are ready, as the status says."""
        workers = self._status.get("workers") or {}
        return workers.get("desired"), workers.get("ready")

    @property
    def _status(self) -> Object:
        return self._seen.get("status") or {}

    def annotation(self, name: str) -> str | None:
        """Its value."""
        found: str | None = (self._seen["metadata"].get("annotations") or {}).get(name)
        return found

    def patch(self, patch: Object) -> None:
        """Change it. Raises UserError with the words of the API server where that refuses it."""
        words = (
            "patch",
            "redisqueue",
            self.name,
            "--type=merge",
            f"--patch={json.dumps(patch)}",
            "-o",
            "json",
        )
        self._seen = json.loads(self.kubectl.run(*words))

    def is_observed(self) -> bool:
        """Whether the status is about the present spec."""
        generation: int = self._seen["metadata"]["generation"]
        return bool(self._status.get("observedGeneration", -1) >= generation)

    def paused(self, status: str) -> bool:
        """Whether the operator says so of the present spec: the number is fixed, or not."""
        conditions = self._status.get("conditions") or ()
        found = {one["type"]: one["status"] for one in conditions}
        return self.is_observed() and found.get("Paused") == status

    def done(self, said: str, is_so: Callable[[], bool]) -> int:
        """Wait, where that is asked for, and tell. Raises UserError after the timeout."""
        deadline = time.monotonic() + self._options.timeout
        while self._options.wait and not is_so():
            if time.monotonic() > deadline:
                raise UserError(
                    f"{self.name}: written, but not so after {self._options.timeout} s:"
                    f" `redisqueue explain {self.name}` says why"
                )
            time.sleep(LOOK_SECONDS)
            self._seen = self.kubectl.get("redisqueue", self.name)
        return self.told(said)

    def told(self, said: str) -> int:
        """Print what is so now."""
        if self._options.json:
            desired, ready = self.workers
            metadata = self._seen["metadata"]
            facts = {"name": metadata["name"], "namespace": metadata["namespace"], "mode": self.mode}
            facts |= {"replicas": self.replicas, "desired": desired, "ready": ready}
            print(json.dumps(facts))
        else:
            print(f"{self.name}: {said}")
        return 0
