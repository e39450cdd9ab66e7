"""`redisqueue explain`: why a RedisQueue has as many workers as it has, with every number that counted.

The operator that leads is asked, through the API server, for the decision it has just made. Where that is not
possible (no right to `pods/proxy`, no operator at work) the last change in the status is shown instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.kubectl import Kubectl, add_cluster
from redisqueue_operator.cli.options import UserError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from redisqueue_operator.cli.options import Subcommands

LEASES = "app.kubernetes.io/name=redis-queue-operator"
PORT = 8080


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("explain", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="the RedisQueue's name")
    parser.add_argument(
        "--operator-port", type=int, default=PORT, metavar="N", help=f"its HTTP port (default: {PORT})"
    )
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the live arithmetic, else the last decision."""
    kubectl = Kubectl(options)
    rq = kubectl.get("redisqueue", options.name)
    try:
        print(live(kubectl, rq["metadata"], options.operator_port), end="")
    except UserError as error:
        print(f"(from the status: the operator could not be asked: {error})")
        for line in recorded(rq.get("status") or {}):
            print(line)
    return 0


def live(kubectl: Kubectl, metadata: dict[str, Any], port: int) -> str:
    """What the leader says. Raises UserError when nobody can be asked, or nobody knows the RedisQueue."""
    problem = "no operator holds a Lease"
    for lease in kubectl.items("lease", f"--selector={LEASES}"):
        pod = (lease["spec"].get("holderIdentity") or "").rpartition("_")[0]
        if not pod:
            continue
        place = f"/api/v1/namespaces/{lease['metadata']['namespace']}/pods/{pod}:{port}/proxy"
        try:
            return kubectl.run("get", "--raw", f"{place}/explain/{metadata['namespace']}/{metadata['name']}")
        except UserError as error:  # another operator may serve this one
            problem = str(error)
    raise UserError(problem)


def recorded(status: dict[str, Any]) -> Iterator[str]:
    """The last change and what is said of the present, from a status."""
    decision = status.get("decision")
    if decision:
        yield f"{decision['at']}: from {decision['from']} to {decision['to']} workers: {decision['reason']}"
        for term in decision.get("terms") or ():
            yield f"{term['name']} asked for {term['value']}"
        if decision.get("clamps"):
            yield f"limited by {', '.join(decision['clamps'])}"
        if decision.get("blockedBy"):
            yield f"held back by {decision['blockedBy']}"
    else:
        yield "the number of workers has not been changed yet"
    for each in status.get("conditions") or ():
        yield f"{each['type']}={each['status']} ({each['reason']}): {each['message']}"
