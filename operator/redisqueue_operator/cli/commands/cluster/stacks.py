"""`redisqueue stacks`: where the handler of each message in hand stands, in all workers of a RedisQueue.

Each worker pod is asked by `kubectl exec … redisqueue-worker stacks`, which stops nothing and shows code, no
values. It needs the rights to get redisqueues, to list pods and to create pods/exec.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.kubectl import CONTAINER, Kubectl, add_cluster, of_queue, plain_name
from redisqueue_operator.cli.options import UserError, add_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from redisqueue_operator.cli.options import Subcommands

AT_ONCE = 8


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("stacks", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="the RedisQueue's name, also as rq/NAME")
    parser.add_argument("--pod", metavar="NAME", help="of this worker alone (default: of all)")
    shape = (
        "[{pod, messages: [{message_id, seconds, slot, pid, stack}], problem}]; messages null where unknown"
    )
    add_json(parser, shape)
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask all workers at once; 1 if one did not answer. Raises UserError where there is none to ask."""
    name = plain_name(options.name)
    kubectl = Kubectl(options)
    kubectl.get("redisqueue", name)
    pods = kubectl.get("pods", of_queue(name))["items"]
    running = [pod["metadata"]["name"] for pod in pods if pod.get("status", {}).get("phase") == "Running"]
    if options.pod:
        if options.pod not in running:
            there = ", ".join(running) or "none"
            raise UserError(f"--pod: {options.pod} is no running worker of {name}; there are: {there}")
        running = [options.pod]
    with ThreadPoolExecutor(AT_ONCE) as asking:
        told = [*asking.map(lambda pod: of_pod(kubectl, pod), running)]
    if options.json:
        print(json.dumps(told, ensure_ascii=False))
    elif not told:
        print(f"{name}: no worker is running")
    else:
        print("\n\n".join(map(spelled, told)))
    return 1 if any(one["problem"] for one in told) else 0


def of_pod(kubectl: Kubectl, pod: str) -> dict[str, Any]:
    """What the worker of a pod says of its messages, or why it does not."""
    command = ("exec", pod, f"--container={CONTAINER}", "--", "redisqueue-worker", "stacks", "--json")
    try:
        return {"pod": pod, "messages": json.loads(kubectl.run(*command)), "problem": None}
    except (UserError, ValueError) as error:
        return {"pod": pod, "messages": None, "problem": str(error)}


def spelled(told: dict[str, Any]) -> str:
    """One worker, for a person."""
    messages: Sequence[dict[str, Any]] | None = told["messages"]
    if messages is None:
        return f"{told['pod']}: {told['problem']}"
    if not messages:
        return f"{told['pod']}: no message in hand"
    return "\n".join([f"{told['pod']}:", *(line for one in messages for line in lines_of(one))])


def lines_of(message: dict[str, Any]) -> list[str]:
    """One message: how long its handler has run, where, and its stack."""
    where = " ".join(str(one) for one in (message["slot"], message["pid"]) if one) or "waits for a slot"
    stack = message["stack"]
    if stack is None and message["pid"]:
        stack = ["no answer: native code holds the interpreter, or its handler ends just now"]
    head = f"  {message['message_id']}  {message['seconds']:.1f} s  {where}"
    return [head, *(f"    {line}" for entry in stack or () for line in entry.splitlines())]
