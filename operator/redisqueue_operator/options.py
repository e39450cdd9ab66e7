"""What `redisqueue-operator` is told by flags or environment."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from redisqueue_operator.kubernetes_api import SERVICE_ACCOUNT
from redisqueue_operator.loop.leader import LEASE_NAME
from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.scope import Scope, check_namespace, check_secret, names_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_HOST = re.compile(r"(?=.{1,253}\Z)\w(?:[\w-]*\w)?(?:\.\w(?:[\w-]*\w)?)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """What the process is told by flags or environment."""

    worker_image: str
    worker_pull_secrets: tuple[str, ...]
    scope: Scope
    own_namespace: str
    lease_name: str
    lease_seconds: int
    resync_seconds: int
    identity: str
    allowed_redis_hosts: AllowedHosts
    port: int
    page_port: int
    """0: no page."""
    page_hosts: tuple[str, ...]
    log_level: str


def read_options(arguments: Sequence[str] | None) -> Options:
    """Flags win over the environment. Exits with status 2 and one line for what cannot be used."""
    parser = _parser()
    given = parser.parse_args(arguments)
    with _blaming(parser, "--watch-namespaces"):
        namespaces = names_in(given.watch_namespaces)
        for name in namespaces:
            check_namespace(name)
    with _blaming(parser, "--worker-image-pull-secrets"):
        told = given.worker_image_pull_secrets
        pull_secrets = tuple(dict.fromkeys(name.strip() for name in told.split(",") if told))
        for name in pull_secrets:
            check_secret(name)
    with _blaming(parser, "--watch-selector"):
        scope = Scope(namespaces, given.watch_selector.strip())
    with _blaming(parser, "--allowed-redis-hosts"):
        allowed = AllowedHosts(names_in(given.allowed_redis_hosts))
    page_hosts = _page_hosts(parser, given)
    if scope.selector and not given.lease_name:
        parser.error(
            f"--watch-selector={scope.selector!r} needs a --lease-name of its own: "
            "operators with one Lease elect one leader between them"
        )
    if given.lease_seconds < 3:
        parser.error(f"--lease-seconds: {given.lease_seconds} must be at least 3")
    if not 2 <= given.resync_seconds <= 600:
        parser.error(f"--resync-seconds: {given.resync_seconds} must be from 2 to 600")
    return Options(
        worker_image=given.worker_image,
        worker_pull_secrets=pull_secrets,
        scope=scope,
        own_namespace=given.namespace or _own_namespace(),
        lease_name=given.lease_name or LEASE_NAME,
        lease_seconds=given.lease_seconds,
        resync_seconds=given.resync_seconds,
        identity=f"{given.pod_name}_{uuid.uuid4().hex[:8]}",
        allowed_redis_hosts=allowed,
        port=given.http_port,
        page_port=given.page_port,
        page_hosts=page_hosts,
        log_level=given.log_level,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="redisqueue-operator", description="Runs and scales the workers of RedisQueue resources."
    )

    def add(flag: str, default: str, text: str, kind: type = str) -> None:
        """A flag, and the environment variable of its name."""
        variable = f"REDISQUEUE_{flag.upper().replace('-', '_')}"
        told = os.environ.get(variable, default)
        parser.add_argument(f"--{flag}", type=kind, default=told, help=f"{text} ({variable})")

    own_image = f"redisqueue-worker:{version('redis-queue-operator')}"
    add("worker-image", own_image, "image of workers whose spec names none")
    text = "comma-separated Secrets of the RedisQueue's namespace, by which that image is pulled; its own win"
    add("worker-image-pull-secrets", "", text)
    add("watch-namespaces", "", "comma-separated; empty watches all")
    add("watch-selector", "", "labels of RedisQueues, as for kubectl -l; empty serves all")
    text = f"the Lease by which one of several equal operators leads; {LEASE_NAME}"
    add("lease-name", "", text)
    text = (
        "how long a leader that is gone keeps the Lease, at least 3; one that cannot renew gives up after "
        "two thirds of it"
    )
    add("lease-seconds", "15", text, int)
    add("resync-seconds", "300", "how often everything is listed and looked at, 2 to 600", int)
    add("namespace", "", "where the operator's Lease is; its own by default")
    parser.add_argument(
        "--pod-name",
        default=os.environ.get("POD_NAME") or os.environ.get("REDISQUEUE_POD_NAME") or os.uname().nodename,
        help="who holds the Lease (POD_NAME)",
    )
    text = "comma-separated hosts, *.domains or networks (10.0.0.0/8); empty allows all"
    add("allowed-redis-hosts", "", text)
    add("http-port", "8080", "of /livez, /readyz and /metrics", int)
    add("page-port", "0", "of the page to look at, read-only; 0 serves none", int)
    text = (
        "comma-separated names by which browsers reach that page from elsewhere, without any login; empty "
        "serves it on the loopback address, for kubectl port-forward"
    )
    add("page-hosts", "", text)
    parser.add_argument(
        "--log-level",
        default=os.environ.get("REDISQUEUE_LOG_LEVEL", "INFO").upper(),
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="REDISQUEUE_LOG_LEVEL",
    )
    return parser


@contextlib.contextmanager
def _blaming(parser: argparse.ArgumentParser, flag: str) -> Iterator[None]:
    """Have a ValueError of the block end the program with the name of the flag."""
    try:
        yield
    except ValueError as error:
        parser.error(f"{flag}: {error}")


def _page_hosts(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[str, ...]:
    with _blaming(parser, "--page-hosts"):
        hosts = names_in(given.page_hosts)
    for host in hosts:
        if not _HOST.fullmatch(host):
            parser.error(
                f"--page-hosts: {host!r} is no host's name: write it without https:// and without a port, "
                "as in queues.example.com"
            )
    if not 0 <= given.page_port <= 65535 or (given.page_port and given.page_port == given.http_port):
        parser.error(
            f"--page-port: {given.page_port} must be from 1 to 65535 and not --http-port's; 0 serves no page"
        )
    if hosts and not given.page_port:
        parser.error(f"--page-hosts={given.page_hosts!r} is for a page that is off: give it a --page-port")
    return hosts


def _own_namespace() -> str:
    with contextlib.suppress(OSError):
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    return "default"
