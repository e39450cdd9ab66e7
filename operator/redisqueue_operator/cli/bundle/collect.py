"""What a support bundle has: the files by their names, and what could not be had."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from redisqueue_operator.cli.bundle.redact import Redactor
from redisqueue_operator.cli.options import UserError

if TYPE_CHECKING:
    from redisqueue_operator.cli.kubectl import Kubectl

Object = dict[str, Any]
WORKERS = "redisqueue.dev/queue"
OPERATOR = "app.kubernetes.io/name=redis-queue-operator"
OURS = ("redisqueues", "redisqueueredrives", "redisqueuebudgets", "redisqueueschedules")
CHILDREN = ("deployments", "replicasets", "pods", "poddisruptionbudgets")
PACKAGES = ("redis-queue-operator", "redis", "kopf", "kubernetes", "PyYAML")
ABOUT = (
    "A support bundle of RedisQueue. No Secret is in it, and no message. Values of variables, arguments,",
    "annotations, headers, options of volumes and the last words of containers are REMOVED, there and in",
    "every other text, and so are payloads of schedules, and what looks like a password. Look it through all",
    "the same before you send it.",
    "",
)
MOST_BYTES_OF_LOG = 20_000_000


@dataclass
class Bundle:
    """Raw objects and texts by the names of their files, until `files` takes out what must not leave."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    of_operator: dict[str, list[Object]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def files(self) -> dict[str, str]:
        """The contents of all files, fit to be sent to somebody."""
        redactor = Redactor()
        kinds = {name: redactor.structure(found) for name, found in self.objects.items()}
        kinds |= {
            f"operator/{name}": redactor.structure(found, is_operator=True)
            for name, found in self.of_operator.items()
        }
        result = {
            f"{name}.json": json.dumps(redactor.texts(found), indent=1) for name, found in kinds.items()
        }
        result |= {name: redactor.text(text) for name, text in self.texts.items()}
        missing = {name: redactor.text(why) for name, why in self.missing.items()}
        return {"README.txt": readme([*result], missing), **result}


def readme(names: list[str], missing: dict[str, str]) -> str:
    """What is in it, for whoever opens it."""
    absent = [f"  {name}: {why}" for name, why in missing.items()]
    told = ["Not to be had:", *absent, ""] if absent else []
    return "\n".join([*ABOUT, *(f"  {name}" for name in sorted(names)), "", *told])


class Collector:
    """Asks kubectl for everything; what is refused is noted, and hinders nothing else."""

    def __init__(self, kubectl: Kubectl, *, everywhere: bool, tail: int, port: int) -> None:
        self._kubectl = kubectl
        self._scope = ["--all-namespaces"] if everywhere else []
        self._tail = tail
        self._port = port
        self.bundle = Bundle()

    def collect(self) -> Bundle:
        """All of it."""
        bundle = self.bundle
        self._versions()
        for kind in OURS:
            bundle.objects[kind] = self._list(kind)
        for kind in CHILDREN:
            bundle.objects[kind] = self._list(kind, f"--selector={WORKERS}")
        self._definitions()
        leases = self._try("leases", lambda: [*self._kubectl.items("leases", f"--selector={OPERATOR}")], [])
        bundle.of_operator["leases"] = leases
        for namespace in sorted({lease["metadata"]["namespace"] for lease in leases}):
            self._operator(namespace)
        self._explain(leases)
        self._events()
        return bundle

    def _try(self, what: str, ask: Any, otherwise: Any) -> Any:
        try:
            return ask()
        except (UserError, ValueError) as error:  # kubectl refused it, or said what is no JSON
            self.bundle.missing[what] = " ".join(str(error).split())
            return otherwise

    def _list(self, kind: str, *words: str, namespace: str | None = None) -> list[Object]:
        scope = [] if namespace else self._scope
        ask = lambda: self._kubectl.get(kind, *scope, *words, namespace=namespace)["items"]  # noqa: E731
        found: list[Object] = self._try(f"{kind} {namespace or ''}".strip(), ask, [])
        return found

    def _versions(self) -> None:
        own: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
        for name in PACKAGES:
            try:
                own[name] = version(name)
            except PackageNotFoundError:
                own[name] = None
        told = self._try("versions", lambda: json.loads(self._kubectl.run("version", "-o", "json")), {})
        self.bundle.objects["versions"] = [{"here": own, "kubernetes": told}]

    def _definitions(self) -> None:
        """Of the definitions what may go wrong with them, not the whole schema."""
        found = []
        for kind in OURS:
            ask = lambda kind=kind: self._kubectl.get("crd", f"{kind}.redisqueue.dev")  # noqa: E731
            if item := self._try(f"definition of {kind}", ask, None):
                versions = [
                    {name: one[name] for name in ("name", "served", "storage")}
                    for one in item["spec"]["versions"]
                ]
                found.append(
                    {"metadata": item["metadata"], "versions": versions, "status": item.get("status")}
                )
        self.bundle.objects["definitions"] = found

    def _operator(self, namespace: str) -> None:
        """Its workloads, and of each pod its log and its metrics."""
        kinds = self.bundle.of_operator
        for kind in ("deployments", "pods"):
            kinds.setdefault(kind, []).extend(self._list(kind, f"--selector={OPERATOR}", namespace=namespace))
        for pod in kinds["pods"]:
            if pod["metadata"]["namespace"] == namespace:
                self._pod(namespace, pod)

    def _pod(self, namespace: str, pod: Object) -> None:
        name, texts = pod["metadata"]["name"], self.bundle.texts
        restarts = sum(
            one.get("restartCount", 0) for one in pod.get("status", {}).get("containerStatuses") or ()
        )
        for previous in ([], ["--previous"]) if restarts else ([],):
            file = f"operator/{namespace}_{name}{'.previous' * bool(previous)}.log"
            words = ("logs", name, f"--tail={self._tail}", f"--limit-bytes={MOST_BYTES_OF_LOG}", *previous)
            ask = lambda words=words: self._kubectl.run(*words, namespace=namespace)  # noqa: E731
            if text := self._try(file, ask, ""):
                texts[file] = text
        file = f"operator/{namespace}_{name}.metrics.txt"
        place = f"/api/v1/namespaces/{namespace}/pods/{name}:{self._port}/proxy"
        if text := self._try(file, lambda: self._kubectl.run("get", "--raw", f"{place}/metrics"), ""):
            texts[file] = text

    def _explain(self, leases: list[Object]) -> None:
        """What the leaders say of each RedisQueue."""
        from redisqueue_operator.cli.commands.cluster.explain import live  # noqa: PLC0415 - a command of its own

        for item in self.bundle.objects["redisqueues"] if leases else ():
            metadata = item["metadata"]
            file = f"explain/{metadata['namespace']}_{metadata['name']}.txt"
            text = self._try(file, lambda metadata=metadata: live(self._kubectl, metadata, self._port), "")
            if text:
                self.bundle.texts[file] = text

    def _events(self) -> None:
        """Those about what is in the bundle, and no others."""
        bundle = self.bundle
        about = {
            (item["metadata"].get("namespace"), item["metadata"]["name"])
            for kinds in (bundle.objects, bundle.of_operator)
            for found in kinds.values()
            for item in found
            if "metadata" in item
        }
        found = self._list("events")
        for namespace in sorted({lease["metadata"]["namespace"] for lease in bundle.of_operator["leases"]}):
            found += [] if self._scope else self._list("events", namespace=namespace)
        ours = {
            one["metadata"]["uid"]: one
            for one in found
            if (one["involvedObject"].get("namespace"), one["involvedObject"].get("name")) in about
        }
        bundle.objects["events"] = [*ours.values()]
