"""`redisqueue explain`: why a RedisQueue has as many workers as it has, with every number that counted.

Of rqb/NAME, a RedisQueueBudget: which queue has what of it, and why. Of rqs/NAME, a RedisQueueSchedule: what
became of its last ticks, and when the next one is.

The operator that leads is asked, through the API server, for the decision it has just made. Where that is not
possible (no right to `pods/proxy`, no operator at work) the last change in the status is shown instead. What
the status says to be wrong follows, in either case.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.explained import EXPLAINERS
from redisqueue_operator.cli.kubectl import Kubectl, add_cluster, plain_name
from redisqueue_operator.cli.options import UserError, add_json
from redisqueue_operator.cli.screen import harmless
from redisqueue_operator.decide.scaling.decision import said

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from redisqueue_operator.cli.explained import Explainer
    from redisqueue_operator.cli.options import Subcommands

LEASES = "app.kubernetes.io/name=redis-queue-operator"
PORT = 8080
GOOD = {
    "Ready": "True",
    "RedisReachable": "True",
    "RedisDurable": "True",
    "Degraded": "False",
    "Stalled": "False",
}
"""What these conditions say of a RedisQueue of which there is nothing to tell."""


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("explain", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="rq/NAME, or the RedisQueue's name; rqb/NAME, rqs/NAME")
    parser.add_argument(
        "--operator-port", type=int, default=PORT, metavar="N", help=f"its HTTP port (default: {PORT})"
    )
    add_json(
        parser, "an object: name, namespace, source (operator, status), problem, lines, decision, conditions"
    )
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the live arithmetic, else the last decision."""
    kubectl = Kubectl(options)
    kind, slash, name = options.name.partition("/")
    if slash and (explainer := EXPLAINERS.get(kind.partition(".")[0])) is not None:
        return run_for(kubectl.get(kind, name), explainer, json_wanted=options.json)
    rq = kubectl.get("redisqueue", plain_name(options.name))
    metadata, status = rq["metadata"], rq.get("status") or {}
    conditions = status.get("conditions") or []
    try:
        lines, problem = live(kubectl, metadata, options.operator_port).splitlines(), None
    except UserError as error:
        lines, problem = list(recorded(status)), str(error)
    if options.json:
        facts = {"name": metadata["name"], "namespace": metadata["namespace"]}
        facts |= {"source": "status" if problem else "operator", "problem": problem, "lines": lines}
        facts |= {"decision": status.get("decision"), "conditions": conditions}
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    if problem:
        print(harmless(f"(from the status: the operator could not be asked: {problem})"))
    shown = conditions if problem else [one for one in conditions if is_wrong(one)]
    print(*map(harmless, lines), *map(spelled_condition, shown), sep="\n")
    return 0


def run_for(obj: dict[str, Any], explainer: Explainer, *, json_wanted: bool) -> int:
    """Print what a status says."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    lines, conditions = list(explainer(status)), status.get("conditions") or []
    if json_wanted:
        facts = {"name": metadata["name"], "namespace": metadata["namespace"], "source": "status"}
        facts |= {"problem": None, "lines": lines, "decision": None, "conditions": conditions}
        print(json.dumps(facts, ensure_ascii=False))
        return 0
    print(*map(harmless, lines), *map(spelled_condition, conditions), sep="\n")
    return 0


def is_wrong(condition: dict[str, Any]) -> bool:
    """Whether somebody should look at it."""
    return bool(GOOD.get(condition["type"], condition["status"]) != condition["status"])


def spelled_condition(condition: dict[str, Any]) -> str:
    """In one line, for a terminal."""
    text = f"{condition['type']}={condition['status']} ({condition['reason']}): {condition['message']}"
    return harmless(text)


def live(kubectl: Kubectl, metadata: dict[str, Any], port: int) -> str:
    """What the leader says. Raises UserError when nobody can be asked, or nobody knows the RedisQueue."""
    problem = "no operator holds a Lease"
    for namespace, pod in leaders(kubectl):
        place = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy"
        try:
            return kubectl.run("get", "--raw", f"{place}/explain/{metadata['namespace']}/{metadata['name']}")
        except UserError as error:  # another operator may serve this one
            problem = str(error)
    raise UserError(problem)


def leaders(kubectl: Kubectl) -> Iterator[tuple[str, str]]:
    """Namespace and name of each operator's pod that leads. Raises UserError where Leases cannot be read."""
    for lease in kubectl.items("lease", f"--selector={LEASES}"):
        pod = (lease["spec"].get("holderIdentity") or "").rpartition("_")[0]
        if pod:
            yield lease["metadata"]["namespace"], pod


def recorded(status: dict[str, Any]) -> Iterator[str]:
    """The last change, from a status."""
    decision = status.get("decision")
    if decision:
        words = {"Budget": f"Budget {decision.get('budget', '')}".strip()}
        why = words.get(decision["reason"], decision["reason"])
        yield f"{decision['at']}: from {decision['from']} to {decision['to']} workers: {why}"
        for term in decision.get("terms") or ():
            yield said(term["name"], term["value"], past=True)
        if decision.get("clamps"):
            yield f"limited by {', '.join(decision['clamps'])}"
        if decision.get("schedule"):
            yield f"in the schedule {decision['schedule']}"
        if held := decision.get("blockedBy"):
            yield f"held back by {words.get(held, held)}"
    if bounds := status.get("schedule"):
        why = f"by schedule: {bounds['inForce']}" if bounds["inForce"] else "by no schedule"
        workers = f"{bounds['minReplicas']} to {bounds['maxReplicas']} workers"
        yield f"{workers} until {bounds['nextChange']}, {why}"
    if not decision:
        yield "the number of workers has not been changed yet"
