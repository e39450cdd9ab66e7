"""Where a queue is: a name and a URL, or a RedisQueue of a file or of the cluster, which says more."""

from __future__ import annotations

import asyncio
import base64
import difflib
import os
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.exceptions import NoPermissionError

from redis_message_queue import ConfigurationError, RedisMessageQueue
from redis_message_queue.connection import ConnectionSettings, Mode
from redis_message_queue.keys import QueueKeys, lease_keys
from redisqueue_operator.cli.foreign_keys import named
from redisqueue_operator.cli.kubectl import Kubectl
from redisqueue_operator.cli.options import DEFAULT_URL, URL_VARIABLE, UsageError, UserError, given_by
from redisqueue_operator.errors import SettingsUnavailable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    import redis

    from redisqueue_operator.api import Key, RedisQueue

CLIENT_NAME = "redisqueue"
PREFIX = "rq/"
_PLACES = ("pending", "pending:waiting", "processing", "delayed", "failed", "dlq", "workers")
_LAST_LETTERS = "".join(sorted({place[-1] for place in _PLACES}))
Client: TypeAlias = "redis.Redis | redis.RedisCluster"
Object = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A queue, and how to reach its Redis."""

    keys: QueueKeys
    settings: ConnectionSettings
    declared: bool = False
    """A RedisQueue says that this queue is meant, whether or not anything was ever in it."""
    held: Callable[[], str] | None = None
    """What its RedisQueueBudget leaves it, asked of the cluster now; empty where that is all it wants."""

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """A client, closed at the end. A key of another type that it meets is a UserError with its name."""
        with self.settings.connect() as client, named(client, self.keys):
            yield client

    def must_exist(self, client: Client) -> None:
        """Raises UserError for a name that none can have, or of which Redis knows nothing: it is mistyped."""
        self.queue(client)
        if self.declared or known(client, self.keys):
            return
        name, others = self.keys.name, discover(client, self.keys.separator)
        parts = [each.name for each in others if each.name in name.split(",")]
        near = parts or difflib.get_close_matches(name, [each.name for each in others])
        hint = f": did you mean {' or '.join(near)}?" if near else "; `redisqueue top` lists what is there"
        raise UserError(f"no queue {name!r} at {self.settings.redacted}{hint}")

    def queue(self, client: Client, **options: Any) -> RedisMessageQueue:
        """The queue. Raises UserError for a name that none can have."""
        arguments = {} if self.declared else {"name": "QUEUE", "key_separator": "--key-separator"}
        try:
            with given_by(**arguments):
                return RedisMessageQueue(
                    self.keys.name, client=client, key_separator=self.keys.separator, **options
                )
        except ConfigurationError as error:
            raise UserError(str(error)) from error


@contextmanager
def located(options: argparse.Namespace, name: str | None) -> Iterator[Place]:
    """The queue that the options and the name say; the files of its TLS settings last as long as this.

    Raises UserError when there is no such RedisQueue, or something that it names is missing.
    """
    found = resource(options, name)
    if found is None:
        if not name:
            raise UserError("which queue? Give its name, rq/NAME for a RedisQueue of the cluster, or -f FILE")
        yield at_url(options, name)
        return
    rq, beside = found
    with tempfile.TemporaryDirectory(prefix="redisqueue-") as folder:
        settings = settings_of(rq, KubectlReferences(options, beside), Path(folder))
        if options.redis_url:
            settings = elsewhere(settings, options.redis_url)
        keys = QueueKeys(rq.spec.queue.name, rq.spec.queue.key_separator)
        held = partial(held_in_cluster, options, rq) if options.file is None else None
        yield Place(keys, settings, declared=True, held=held)


def held_in_cluster(options: argparse.Namespace, rq: RedisQueue) -> str:
    """What the status of the RedisQueue says of its budget. Raises UserError."""
    from redisqueue_operator.decide.budget import held_by_budget  # noqa: PLC0415 - as below

    found = Kubectl(options).get("redisqueue", rq.key.name, namespace=rq.key.namespace)
    return held_by_budget(found.get("status") or {})


def known(client: Client, keys: QueueKeys) -> bool:
    """Whether Redis has anything of the queue, or may not tell."""
    waiting = (keys.pending, keys.lanes.waiting, keys.delayed)
    places = (*waiting, keys.processing, keys.failed, keys.completed, keys.dead_letter)
    leases = lease_keys(keys.processing)
    lasting = (keys.workers, keys.dead_letter_info, leases.token_counter, leases.tokens, leases.deadlines)
    try:
        return bool(client.exists(*places, *lasting))
    except NoPermissionError:
        return True


def discover(client: Client, separator: str) -> list[QueueKeys]:
    """Queues that hold messages or have workers, found by their keys; none where one may not search.

    All keys of the database are looked at, once.
    """
    ends = tuple(f"{separator}{place}" for place in _PLACES)
    names: set[str] = set()
    with suppress(NoPermissionError):
        for key in client.scan_iter(match=f"*{separator}*[{_LAST_LETTERS}]", count=1000):
            text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
            names.update(text.removesuffix(end) for end in ends if text.endswith(end))
    return [QueueKeys(name, separator) for name in sorted(names)]


def at_url(options: argparse.Namespace, name: str) -> Place:
    """A queue by its name, at the URL of the options. Raises UsageError when that is none."""
    url = options.redis_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        settings = ConnectionSettings(url=url, client_name=CLIENT_NAME)
    except ValueError as error:
        raise UsageError(f"--redis-url: {error}") from error
    return Place(QueueKeys(name, options.key_separator or "::"), settings)


def resource(options: argparse.Namespace, name: str | None) -> tuple[RedisQueue, list[Object]] | None:
    """The RedisQueue that is meant, and the objects beside it in its file; None for a queue by its name."""
    wanted = (name or "").removeprefix(PREFIX)
    if options.file is None:
        if not name or not name.startswith(PREFIX):
            return None
        return typed(Kubectl(options).get("redisqueue", wanted), name), []
    # Queues by their name need no YAML: whoever has the base alone may work with them.
    from redisqueue_operator.local.definitions import DefinitionError, objects_in, text_of  # noqa: PLC0415

    try:
        objects = list(objects_in(text_of(options.file), str(options.file)))
    except DefinitionError as error:
        raise UserError(str(error)) from error
    queues = [item for item in objects if item.get("kind") == "RedisQueue"]
    names = [str((item.get("metadata") or {}).get("name")) for item in queues]
    chosen = [item for item, each in zip(queues, names, strict=True) if wanted in ("", each)]
    if len(chosen) != 1:
        what = f"{len(chosen)} RedisQueues named {wanted}" if wanted else f"{len(chosen)} RedisQueues"
        raise UserError(f"{options.file}: {what} in it; name one of: {', '.join(names) or 'none'}")
    return typed(chosen[0], str(options.file)), objects


def typed(item: Object, where: str) -> RedisQueue:
    """The RedisQueue of an object. Raises UserError naming the field that is wrong."""
    from redisqueue_operator.api import parse  # noqa: PLC0415 - as above

    try:
        return parse(item)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def settings_of(rq: RedisQueue, references: KubectlReferences, folder: Path) -> ConnectionSettings:
    """As the operator would connect. Raises UserError."""
    # They bring the whole API along, and with it YAML.
    from redisqueue_operator.observe.redis.dial_guard import AllowedHosts  # noqa: PLC0415
    from redisqueue_operator.observe.redis.settings import Connections  # noqa: PLC0415

    try:
        settings = asyncio.run(Connections(references, folder, AllowedHosts()).settings(rq))
    except (SettingsUnavailable, ValueError) as error:
        raise UserError(f"RedisQueue {rq.key.name}: {error}") from error
    return replace(settings, client_name=CLIENT_NAME)


def elsewhere(settings: ConnectionSettings, url: str) -> ConnectionSettings:
    """The same login and certificates at another address, as a port-forward gives one. Raises UserError."""
    mode: Mode = "Cluster" if settings.mode == "Cluster" else "Standalone"
    try:
        here: dict[str, Any] = {"sentinel_master": "", "sentinel_addresses": (), "host_domain": ""}
        return replace(settings, url=url, mode=mode, **here)
    except ValueError as error:
        raise UsageError(f"--redis-url: {error}") from error


class KubectlReferences:
    """Secrets and ConfigMaps that a RedisQueue names: of its own file, else of the cluster, by kubectl."""

    def __init__(self, options: argparse.Namespace, beside: list[Object]) -> None:
        self._options = options
        self._beside = beside

    async def secret(self, key: Key, *, fresh: bool = False) -> Object:  # noqa: ARG002 - the operator's need
        """The Secret. Raises UserError when there is none, or kubectl may not read it."""
        found = self._in_file("Secret", key)
        if found is None:
            return Kubectl(self._options).get("secret", key.name, namespace=key.namespace)
        plain = found.get("stringData") or {}
        encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in plain.items()}
        return {**found, "data": {**(found.get("data") or {}), **encoded}}

    async def config_map(self, key: Key) -> Object | None:
        """The ConfigMap. Raises UserError as `secret` does."""
        found = self._in_file("ConfigMap", key)
        if found is None:
            return Kubectl(self._options).get("configmap", key.name, namespace=key.namespace)
        return found

    def _in_file(self, kind: str, key: Key) -> Object | None:
        for item in self._beside:
            metadata = item.get("metadata") or {}
            place = (metadata.get("namespace") or "default", metadata.get("name"))
            if item.get("kind") == kind and place == (key.namespace, key.name):
                return item
        return None
