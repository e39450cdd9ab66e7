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
    from collections.abc import Sequence


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
    env = os.environ
    parser = argparse.ArgumentParser(
        prog="redisqueue-operator", description="Runs and scales the workers of RedisQueue resources."
    )
    parser.add_argument(
        "--worker-image",
        default=env.get("REDISQUEUE_WORKER_IMAGE", f"redisqueue-worker:{version('redis-queue-operator')}"),
        help="image of workers whose spec names none (REDISQUEUE_WORKER_IMAGE)",
    )
    parser.add_argument(
        "--worker-image-pull-secrets",
        default=env.get("REDISQUEUE_WORKER_IMAGE_PULL_SECRETS", ""),
        help="comma-separated Secrets of the RedisQueue's namespace, by which that image is pulled; its own "
        "win (REDISQUEUE_WORKER_IMAGE_PULL_SECRETS)",
    )
    parser.add_argument(
        "--watch-namespaces",
        default=env.get("REDISQUEUE_WATCH_NAMESPACES", ""),
        help="comma-separated; empty watches all (REDISQUEUE_WATCH_NAMESPACES)",
    )
    parser.add_argument(
        "--watch-selector",
        default=env.get("REDISQUEUE_WATCH_SELECTOR", ""),
        help="labels of RedisQueues, as for kubectl -l; empty serves all (REDISQUEUE_WATCH_SELECTOR)",
    )
    parser.add_argument(
        "--lease-name",
        default=env.get("REDISQUEUE_LEASE_NAME", ""),
        help=f"the Lease by which one of several equal operators leads; {LEASE_NAME} (REDISQUEUE_LEASE_NAME)",
    )
    parser.add_argument(
        "--lease-seconds",
        type=int,
        default=env.get("REDISQUEUE_LEASE_SECONDS", "15"),
        help="how long a leader that is gone keeps the Lease, at least 3; one that cannot renew gives up "
        "after two thirds of it (REDISQUEUE_LEASE_SECONDS)",
    )
    parser.add_argument(
        "--resync-seconds",
        type=int,
        default=env.get("REDISQUEUE_RESYNC_SECONDS", "300"),
        help="how often everything is listed and looked at, 2 to 600 (REDISQUEUE_RESYNC_SECONDS)",
    )
    parser.add_argument(
        "--namespace",
        default=env.get("REDISQUEUE_NAMESPACE", ""),
        help="where the operator's Lease is; its own by default (REDISQUEUE_NAMESPACE)",
    )
    parser.add_argument(
        "--pod-name",
        default=env.get("POD_NAME") or env.get("REDISQUEUE_POD_NAME") or os.uname().nodename,
        help="who holds the Lease (POD_NAME)",
    )
    parser.add_argument(
        "--allowed-redis-hosts",
        default=env.get("REDISQUEUE_ALLOWED_REDIS_HOSTS", ""),
        help="comma-separated hosts, *.domains or networks (10.0.0.0/8); empty allows all "
        "(REDISQUEUE_ALLOWED_REDIS_HOSTS)",
    )
    parser.add_argument(
        "--http-port",
        type=int,
        default=env.get("REDISQUEUE_HTTP_PORT", "8080"),
        help="of /livez, /readyz and /metrics (REDISQUEUE_HTTP_PORT)",
    )
    parser.add_argument(
        "--page-port",
        type=int,
        default=env.get("REDISQUEUE_PAGE_PORT", "0"),
        help="of the page to look at, read-only; 0 serves none (REDISQUEUE_PAGE_PORT)",
    )
    parser.add_argument(
        "--page-hosts",
        default=env.get("REDISQUEUE_PAGE_HOSTS", ""),
        help="comma-separated names by which browsers reach that page from elsewhere, without any login; "
        "empty serves it on the loopback address, for kubectl port-forward (REDISQUEUE_PAGE_HOSTS)",
    )
    parser.add_argument(
        "--log-level",
        default=env.get("REDISQUEUE_LOG_LEVEL", "INFO").upper(),
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="REDISQUEUE_LOG_LEVEL",
    )
    given = parser.parse_args(arguments)
    try:
        namespaces = names_in(given.watch_namespaces)
        for name in namespaces:
            check_namespace(name)
    except ValueError as error:
        parser.error(f"--watch-namespaces: {error}")
    try:
        told = given.worker_image_pull_secrets
        pull_secrets = tuple(dict.fromkeys(name.strip() for name in told.split(",") if told))
        for name in pull_secrets:
            check_secret(name)
    except ValueError as error:
        parser.error(f"--worker-image-pull-secrets: {error}")
    try:
        scope = Scope(namespaces, given.watch_selector.strip())
    except ValueError as error:
        parser.error(f"--watch-selector: {error}")
    try:
        allowed = AllowedHosts(names_in(given.allowed_redis_hosts))
    except ValueError as error:
        parser.error(f"--allowed-redis-hosts: {error}")
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


def _page_hosts(parser: argparse.ArgumentParser, given: argparse.Namespace) -> tuple[str, ...]:
    hosts: tuple[str, ...] = ()
    try:
        hosts = names_in(given.page_hosts)
    except ValueError as error:
        parser.error(f"--page-hosts: {error}")
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
