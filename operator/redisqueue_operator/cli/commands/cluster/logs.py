"""`redisqueue logs`: what the workers of a RedisQueue say, each line with its pod in front.

With -f it goes on until Ctrl-C, with pods that come later and containers that start again. Lines of JSON,
which workers print, are shown as text; --raw leaves them as they are.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from redisqueue_operator.cli.kubectl import CONTAINER, Kubectl, add_cluster, of_queue, plain_name
from redisqueue_operator.cli.options import UserError, add_json, count
from redisqueue_operator.cli.screen import LogLine

if TYPE_CHECKING:
    import argparse
    import subprocess

    from redisqueue_operator.cli.options import Subcommands

NEWS = 'jsonpath={.metadata.name}{" "}{.status.containerStatuses}{"\\n"}'
"""A line for each news of a pod: its name, and what is known of its containers, in JSON; empty at first.

No deeper: kubectl takes a key that is missing there for an error. No tab: a watch makes spaces of it.
"""
AGAIN_SECONDS = 1.0


def add_to(subcommands: Subcommands) -> None:
    """Declare the command."""
    parser = subcommands.add_parser("logs", description=__doc__)
    parser.add_argument("name", metavar="NAME", help="rq/NAME, or the RedisQueue's name")
    parser.add_argument("-f", "--follow", action="store_true", help="go on, with pods that come, too")
    parser.add_argument(
        "--tail", type=count, metavar="N", help="only the last lines of each pod (default: all)"
    )
    parser.add_argument("--since", metavar="TIME", help="only what is newer, as 10s, 5m or 2h")
    parser.add_argument("--previous", action="store_true", help="of the containers before the last restart")
    parser.add_argument("--raw", action="store_true", help="lines as the worker printed them")
    add_json(parser, "an object a line: pod, line, record (null where the line is no JSON)")
    add_cluster(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what there is, or all until Ctrl-C. Raises UserError where there is no such RedisQueue."""
    if options.follow and options.previous:
        raise UserError("--previous: what has ended says nothing more; leave -f out")
    kubectl, name = Kubectl(options), plain_name(options.name)
    kubectl.get("redisqueue", name)
    chosen = [f"--tail={options.tail or -1}", *([f"--since={options.since}"] if options.since else [])]
    pods = [pod["metadata"]["name"] for pod in kubectl.get("pods", of_queue(name))["items"]]
    if options.follow:
        with Followers(kubectl, name, set(pods), chosen) as followers:
            for said in iter(followers.said.get, None):
                tell(said, options)
    if not pods:
        print(f"redisqueue: {name} has no worker now", file=sys.stderr)
    chosen += ["--previous"] if options.previous else []
    readable = [
        pod for pod in pods if print_all(kubectl.start("logs", pod, f"-c{CONTAINER}", *chosen), pod, options)
    ]
    return 0 if readable or not pods else 1


class Said(NamedTuple):
    """A line of a pod; `is_trouble` where kubectl says why it cannot be read."""

    pod: str
    line: str
    is_trouble: bool = False


def print_all(process: subprocess.Popen[str], pod: str, options: argparse.Namespace) -> bool:
    """Print what a pod has said; whether it could be read."""
    for line in process.stdout or ():
        tell(Said(pod, line.rstrip("\n")), options)
    if process.wait():
        tell(Said(pod, trouble_of(process), is_trouble=True), options)
    return process.returncode == 0


def tell(said: Said, options: argparse.Namespace) -> None:
    """Print one line as it is asked for."""
    if said.is_trouble:
        print(f"redisqueue: {said.pod}: {said.line}", file=sys.stderr, flush=True)
    elif options.json:
        facts = {"pod": said.pod, "line": said.line, "record": record(said.line)}
        print(json.dumps(facts, ensure_ascii=False), flush=True)
    else:
        text = said.line if options.raw else LogLine.read(said.line).text
        print(*(f"{said.pod} | {each}" for each in text.splitlines() or [""]), sep="\n", flush=True)


def record(line: str) -> dict[str, Any] | None:
    """What a worker logged; None for what is no record."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def trouble_of(process: subprocess.Popen[str]) -> str:
    """The last words of a kubectl that has ended; they are few, and wait in the pipe."""
    words = process.stderr.read().strip() if process.stderr else ""
    return words.splitlines()[-1] if words else f"kubectl ended with {process.returncode}"


def news_of(line: str) -> tuple[str, str, bool]:
    """Of a pod its name, the start of its container (empty before the first), and whether that ended."""
    pod, _, statuses = line.partition(" ")
    mine = [one for one in json.loads(statuses or "[]") if one["name"] == CONTAINER]
    state = (mine[0].get("state") or {}) if mine else {}
    began = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    return pod, f"{mine[0]['restartCount']} {began}" if began else "", "terminated" in state


class Followers:
    """A kubectl for each container that runs, one that watches for others, and a thread that reads each.

    `said` has their lines. On leaving, all kubectls end.
    """

    def __init__(self, kubectl: Kubectl, name: str, there: set[str], chosen: list[str]) -> None:
        self.said: queue.Queue[Said] = queue.Queue()
        self._kubectl = kubectl
        self._name = name
        self._there = there
        self._chosen = chosen
        self._begun: dict[str, str] = {}
        self._heard_until: dict[str, tuple[str, str]] = {}
        """Of a container that is not followed any more: which start of it, and when that was."""
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._left = threading.Event()

    def __enter__(self) -> Followers:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._left.set()
            for process in self._processes:
                process.terminate()

    def _watch(self) -> None:
        """Hear of pods; a watch that ends, as each does once in a while, begins anew."""
        words = ("get", "pods", of_queue(self._name), "--watch", "-o", NEWS)
        while not self._left.is_set():
            if process := self._start(*words):
                self._read(process, self._heed)
                if process.returncode and not self._left.is_set():
                    self.said.put(Said(self._name, trouble_of(process), is_trouble=True))
            self._left.wait(AGAIN_SECONDS)

    def _heed(self, news: str) -> None:
        """Follow a container that has begun, unless it is followed already, or was until it ended."""
        pod, begun, has_ended = news_of(news)
        is_done = has_ended and self._heard_until.get(pod, ("", ""))[0] == begun
        if begun and self._begun.get(pod) != begun and not is_done:
            self._begun[pod] = begun
            threading.Thread(target=self._follow, args=(pod, begun), daemon=True).start()

    def _follow(self, pod: str, begun: str) -> None:
        """Until it ends, or is cut off: then the next news of a container that runs leads on."""
        chosen = self._chosen if pod in self._there else []
        self._there.discard(pod)
        same, until = self._heard_until.get(pod, ("", ""))
        if same == begun:
            chosen = [f"--since-time={until}"]
        process = self._start("logs", pod, f"-c{CONTAINER}", "--follow", *chosen)
        if process is None:
            return
        self._read(process, lambda line: self.said.put(Said(pod, line)))
        if process.returncode and not self._left.is_set():
            self.said.put(Said(pod, trouble_of(process), is_trouble=True))
        self._heard_until[pod] = begun, datetime.now(UTC).isoformat(timespec="seconds")
        if self._begun.get(pod) == begun:
            del self._begun[pod]

    def _start(self, *words: str) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._left.is_set():
                return None
            process = self._kubectl.start(*words)
            self._processes.add(process)
            return process

    def _read(self, process: subprocess.Popen[str], heed: Any) -> None:
        for line in process.stdout or ():
            heed(line.rstrip("\n"))
        process.wait()
        with self._lock:
            self._processes.discard(process)
