"""Every setting of `redisqueue-worker run`: its flag, its environment variable, its type, its default.

One table (`OPTIONS`) is the source of the parser, of `--help` and of the checks; a wrong value never
stops the reading, so that one start names everything that is wrong.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from redis_message_queue.keys import has_hash_tag
from redis_message_queue.limits import Limits
from redis_message_queue.messages import WorkerIdentity
from redisqueue_worker.identity import new_instance, own_name
from redisqueue_worker.setting_values import (
    folders,
    limit_problems,
    limits_of,
    listed,
    one_of,
    rate,
    seconds,
    switch,
    text_problems,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redis_message_queue.connection import ConnectionSettings


ENVIRONMENT_PREFIX = "REDISQUEUE_"
DEFAULT_RUN_DIR = Path("/run/redisqueue")
DEFAULT_HTTP_PORT = 8080
# A Unix socket's path must fit sockaddr_un, the smallest common size of which is 104 with its final NUL.
MAX_SOCKET_PATH_BYTES = 103
_OF_A_SERVICE = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)$")


class SettingsError(ValueError):
    """Some settings are wrong. `problems` names each one, its value and the way out."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Option(NamedTuple):
    """One setting. `parse` raises ValueError with what the value must be."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()


OPTIONS = (
    Option("handler", str, None, "module:function, or module for what it registers (required)"),
    Option(
        "handler_path",
        folders,
        (),
        "folders to import it from, separated by ':' (default /handler if it exists)",
    ),
    Option("hooks", listed, (), "modules with hooks to import before it, separated by ','"),
    Option("queue", str, None, "the queue's name (required)"),
    Option("key_separator", str, "::", "what separates the parts of the queue's keys"),
    Option("redis_url", str, None, "redis://, rediss:// or unix:// URL", secret=True),
    Option("redis_url_file", Path, None, "a file that holds the URL"),
    Option(
        "redis_mode",
        one_of("Standalone", "Sentinel", "Cluster"),
        "Standalone",
        "Standalone, Sentinel or Cluster",
    ),
    Option("redis_database", whole(0), None, "database number"),
    Option("redis_username_file", Path, None, "a file that holds the user's name, read at each connect"),
    Option("redis_password_file", Path, None, "a file that holds the password, read at each connect"),
    Option("sentinel_master", str, None, "the master's name in Sentinel"),
    Option("sentinel_addresses", listed, (), "host:port of each Sentinel, separated by commas"),
    Option("sentinel_username_file", Path, None, "a file that holds the user's name for Sentinel"),
    Option("sentinel_password_file", Path, None, "a file that holds the password for Sentinel"),
    Option("tls_ca_file", Path, None, "the authority that signed the server's certificate"),
    Option("tls_cert_file", Path, None, "the worker's own certificate"),
    Option("tls_key_file", Path, None, "the key of the worker's own certificate"),
    Option("tls_server_name", str, None, "the name that the server's certificate must bear"),
    Option("visibility_timeout_seconds", whole(1), 120, "a lease ends this long after its last renewal"),
    Option(
        "heartbeat_seconds", seconds, None, "time between lease renewals (default: a quarter of the lease)"
    ),
    Option("max_delivery_count", whole(0), 10, "deliveries before a message is a dead letter; 0: no limit"),
    Option("keep_completed", whole(0), 0, "how many completed messages to keep"),
    Option("keep_failed", whole(0), 1000, "how many failed messages to keep"),
    Option("results_ttl_seconds", whole(0), 0, "how long results of handlers are kept; 0: not at all"),
    Option(
        "max_in_flight_seconds",
        seconds,
        3600.0,
        "a handler without a timeout is reported as hung after this",
    ),
    Option(
        "rate_per_second", rate, None, "messages that all workers of the queue begin in a second, on average"
    ),
    Option(
        "rate_burst",
        whole(1, 10**6),
        None,
        "how many of them at once (default: a tenth of a second's worth)",
    ),
    Option("max_in_flight", whole(1, 10**6), None, "messages that all workers of the queue handle at once"),
    Option("key_rate_per_second", rate, None, "the same for each limit key that messages were enqueued with"),
    Option("key_rate_burst", whole(1, 10**6), None, "how many of a limit key at once"),
    Option("key_max_in_flight", whole(1, 10**6), None, "messages of a limit key that are handled at once"),
    Option("concurrency", whole(1, 1000), 1, "messages handled at once"),
    Option(
        "slots",
        one_of("auto", "threads", "tasks", "processes"),
        "auto",
        "where handlers run: threads for sync ones and tasks for async ones (auto), or a process for each",
    ),
    Option(
        "handler_timeout_seconds", seconds, None, "a handler that runs longer is stopped (default: no limit)"
    ),
    Option("max_attempts", whole(1), 3, "failures before a message is a dead letter; 1: a failure is final"),
    Option("retry_initial_seconds", seconds, 1.0, "the first delay of the exponential backoff"),
    Option("retry_max_seconds", seconds, 300.0, "the longest delay of the exponential backoff"),
    Option(
        "circuit_breaker_failures",
        whole(0),
        5,
        "failures in a row after which only one message is tried now and then; 0: never",
    ),
    Option(
        "drain_timeout_seconds", seconds, 300.0, "how long handlers may take to finish when the worker stops"
    ),
    Option("grace_period_seconds", seconds, None, "time between SIGTERM and SIGKILL, as the platform has it"),
    Option(
        "on_drain_timeout",
        one_of("ReturnToFront", "LeaveLease"),
        "ReturnToFront",
        "what becomes of messages that are still handled then: ReturnToFront or LeaveLease",
    ),
    Option("burst", switch, False, "leave with 0 when the queue is empty, as for a CronJob"),
    Option(
        "burst_patience_seconds",
        seconds,
        20.0,
        "how long a burst waits for retries, or for Redis, while no message comes to an end",
    ),
    Option("max_messages", whole(1), None, "start afresh after about this many messages"),
    Option("max_memory_mib", whole(1), None, "start afresh when the process is larger than this"),
    Option("max_age_seconds", seconds, None, "start afresh after about this long"),
    Option("reload", switch, False, "start afresh when code was changed, for development"),
    Option(
        "worker_id",
        str,
        None,
        "this worker's unique name (default: the host's name; with the process's number unless that is 1)",
    ),
    Option("instance", str, None, "what no other process has, nor one of this name before (default: random)"),
    Option("pod_uid", str, "", "the UID of the worker's pod"),
    Option("owner_uid", str, "", "the UID of the RedisQueue"),
    Option("config_hash", str, "", "identifies the configuration that the worker runs with"),
    Option("http_host", str, "", "address of /livez, /readyz and /metrics; empty: all, IPv4 and IPv6"),
    Option("http_port", whole(0, 65535), None, f"their port (default {DEFAULT_HTTP_PORT}); 0: none"),
    Option("run_dir", Path, None, f"folder of the control socket (default {DEFAULT_RUN_DIR})"),
    Option("log_format", one_of("json", "text"), "json", "json, or text for people"),
    Option("log_level", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO", "DEBUG, INFO, WARNING or ERROR"),
)


class Settings(NamedTuple):
    """The settings of one worker, checked. Times are in seconds; None means no limit."""

    handler: str
    handler_path: tuple[Path, ...]
    hooks: tuple[str, ...]
    queue: str
    key_separator: str
    connection: ConnectionSettings
    visibility_timeout_seconds: int
    heartbeat_seconds: float
    max_delivery_count: int | None
    keep_completed: int
    keep_failed: int
    results_ttl_seconds: int
    max_in_flight_seconds: float
    limits: Limits
    key_limits: Limits
    concurrency: int
    slots: str
    handler_timeout_seconds: float | None
    max_attempts: int
    retry_initial_seconds: float
    retry_max_seconds: float
    circuit_breaker_failures: int
    drain_timeout_seconds: float
    grace_period_seconds: float | None
    leave_lease: bool
    burst: bool
    burst_patience_seconds: float
    max_messages: int | None
    max_memory_mib: int | None
    max_age_seconds: float | None
    reload: bool
    worker_id: str
    instance: str
    pod_uid: str
    owner_uid: str
    config_hash: str
    http_host: str
    http_port: int
    http_port_required: bool
    run_dir: Path
    run_dir_required: bool
    log_format: str
    log_level: str

    @property
    def is_limited(self) -> bool:
        """Whether what begins is counted."""
        return not self.limits == self.key_limits == Limits()

    @property
    def identity(self) -> WorkerIdentity:
        """Who claims, as Redis and the operator know it."""
        return WorkerIdentity(
            id=self.worker_id,
            slots=self.concurrency,
            pod_uid=self.pod_uid,
            owner_uid=self.owner_uid,
            config_hash=self.config_hash,
            instance=self.instance,
        )


def read_settings(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """The settings from flags, then the environment, then the defaults.

    Args:
        flags: option name → text, None or absent when not given.
        environment: the process's; an empty value counts as absent.

    Raises SettingsError that names everything that is wrong.
    """
    values = {option.name: option.default for option in OPTIONS}
    problems: list[str] = []
    for option in OPTIONS:
        text = flags.get(option.name) or environment.get(option.variable)
        try:
            values[option.name] = option.parse(text) if text else option.default
        except ValueError as error:
            problems.append(f"{_called(option.name)}: {text!r} {error}")
    problems += _contradictions(values)
    connection = _connection(values, problems)
    if problems or connection is None:
        raise SettingsError(problems)
    return _assemble(values, connection)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """For each variable that looks like a setting and is none: its name and the nearest one.

    Those that Kubernetes derives from the names of services, such as REDISQUEUE_VALKEY_SERVICE_HOST, are
    nobody's mistake.
    """
    known = {option.name.upper() for option in OPTIONS}
    told = []
    for variable in sorted(environment):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name != variable and name not in known and not _OF_A_SERVICE.search(name):
            import difflib  # noqa: PLC0415  (few have a misspelt one)

            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {ENVIRONMENT_PREFIX}{near[0]}?" if near else ""
            told.append(f"{variable} is no setting{hint}")
    return told


def _called(name: str) -> str:
    option = next(option for option in OPTIONS if option.name == name)
    return f"{option.variable} ({option.flag})"


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """What is wrong between settings, or with one beyond its type."""
    found = [f"{_called(name)}: is missing" for name in ("handler", "queue") if not values[name]]
    files = [option.name for option in OPTIONS if option.name.endswith("_file") and values[option.name]]
    unreadable = [(name, _unreadable(values[name])) for name in files]
    found += [f"{_called(name)}: cannot read '{values[name]}': {why}" for name, why in unreadable if why]
    lease, heartbeat = values["visibility_timeout_seconds"], values["heartbeat_seconds"]
    if heartbeat is not None and heartbeat > lease / 2:
        found.append(
            f"{_called('heartbeat_seconds')}: {heartbeat:g} must be at most half of "
            f"{_called('visibility_timeout_seconds')} = {lease}, or one lost renewal loses the lease"
        )
    attempts, deliveries = values["max_attempts"], values["max_delivery_count"]
    if 0 < deliveries < attempts:
        found.append(
            f"{_called('max_attempts')}: {attempts} must not exceed "
            f"{_called('max_delivery_count')} = {deliveries}"
        )
    if values["retry_initial_seconds"] > values["retry_max_seconds"]:
        found.append(
            f"{_called('retry_initial_seconds')}: {values['retry_initial_seconds']:g} must not exceed "
            f"{_called('retry_max_seconds')} = {values['retry_max_seconds']:g}"
        )
    wrong = [*text_problems(values), *limit_problems(values)]
    found += [f"{_called(name)}: {why}" for name, why in wrong]
    queue = values["queue"]
    if queue and "," in queue and not values["pod_uid"]:
        found.append(
            f"{_called('queue')}: {queue!r} looks like several: a worker has one queue, start one for each "
            "(a queue whose name has a comma needs a RedisQueue)"
        )
    if values["redis_mode"] == "Cluster" and queue and not has_hash_tag(queue):
        found.append(f"{_called('queue')}: {queue!r} needs a hash tag in Redis Cluster; use '{{{queue}}}'")
    run_dir = values["run_dir"]
    if run_dir is not None and len(bytes(run_dir / "worker.sock")) > MAX_SOCKET_PATH_BYTES:
        found.append(f"{_called('run_dir')}: '{run_dir}' is too long for a Unix socket; use a shorter path")
    return found


def _unreadable(path: Path) -> str | None:
    """Why a file cannot be read; None when it can."""
    try:
        path.open("rb").close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _connection(values: Mapping[str, Any], problems: list[str]) -> ConnectionSettings | None:
    """Where Redis is; appends to `problems` and gives None when that cannot be told."""
    from redis_message_queue.connection import ConnectionSettings  # noqa: PLC0415  (a process slot needs none)

    url = values["redis_url"]
    if url and values["redis_url_file"]:
        problems.append(f"{_called('redis_url')} and {_called('redis_url_file')}: give one of them, not both")
        return None
    if values["redis_url_file"]:
        if _unreadable(values["redis_url_file"]):
            return None  # told with the other files
        url = values["redis_url_file"].read_text().strip()
    if not url and values["redis_mode"] != "Sentinel":
        problems.append(f"{_called('redis_url')} or {_called('redis_url_file')}: is missing")
        return None
    names = (
        *("sentinel_master", "sentinel_addresses", "sentinel_username_file", "sentinel_password_file"),
        *("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_server_name"),
    )
    same = {name: values[name] for name in names if values[name]}
    try:
        return ConnectionSettings(
            url=url or "",
            mode=values["redis_mode"],
            database=values["redis_database"],
            username_file=values["redis_username_file"],
            password_file=values["redis_password_file"],
            client_name=f"redisqueue-worker:{values['worker_id'] or own_name()}".replace(" ", "-"),
            **same,
        )
    except ValueError as error:
        problems.append(f"Redis connection: {error}")
        return None


def _assemble(values: dict[str, Any], connection: ConnectionSettings) -> Settings:
    default_path = [Path("/handler")] if Path("/handler").is_dir() else []
    fields = {name: value for name, value in values.items() if name in Settings._fields}
    fields |= {
        "connection": connection,
        "limits": limits_of(values),
        "key_limits": limits_of(values, "key_"),
        "handler_path": values["handler_path"] or tuple(default_path),
        "heartbeat_seconds": values["heartbeat_seconds"] or values["visibility_timeout_seconds"] / 4,
        "max_delivery_count": values["max_delivery_count"] or None,
        "leave_lease": values["on_drain_timeout"] == "LeaveLease",
        "worker_id": values["worker_id"] or own_name(),
        "instance": values["instance"] or new_instance(),
        "http_port": DEFAULT_HTTP_PORT if values["http_port"] is None else values["http_port"],
        "http_port_required": values["http_port"] is not None,
        "run_dir": values["run_dir"] or DEFAULT_RUN_DIR,
        "run_dir_required": values["run_dir"] is not None,
    }
    return Settings(**fields)
