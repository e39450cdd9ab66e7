"""A RedisQueue as frozen dataclasses, fields as in the CRD in snake_case; what they mean is said there.

A field whose default stands in the CRD has none here: build these with `api.parse`, which applies it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

RedisMode = Literal["Standalone", "Sentinel", "Cluster"]
ScalingMode = Literal["Auto", "Paused", "UpOnly", "DownOnly", "DryRun", "External"]
Manifest = dict[str, Any]
"""A fragment of a Kubernetes object that is passed on as it is."""
GRACE_MARGIN_SECONDS = 15


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a RedisQueue is looked up by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRef:
    """A RedisQueue of the namespace of the one that names it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """A key of a Secret or ConfigMap in the namespace of the RedisQueue."""

    name: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlFrom:
    secret_key_ref: KeyRef


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSecretRef:
    """Keys of a Secret that hold credentials; without `username_key` it is the default user."""

    name: str
    username_key: str | None = None
    password_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    secret_ref: AuthSecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinel:
    master_name: str
    addresses: tuple[str, ...]
    auth: Auth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaFrom:
    """Exactly one of the two is set."""

    secret_key_ref: KeyRef | None = None
    config_map_key_ref: KeyRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CertSecretRef:
    name: str
    cert_key: str
    key_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertFrom:
    secret_ref: CertSecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    ca_from: CaFrom | None = None
    cert_from: CertFrom | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """Exactly one of `url` and `url_from` is set."""

    url: str | None = None
    url_from: UrlFrom | None = None
    database: int | None = None
    mode: RedisMode
    sentinel: Sentinel | None = None
    auth: Auth | None = None
    tls: Tls | None = None

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The Secrets that a connection needs, sorted, each once."""
        ca_from = self.tls and self.tls.ca_from
        names = [
            self.url_from and self.url_from.secret_key_ref.name,
            self.auth and self.auth.secret_ref.name,
            self.sentinel and self.sentinel.auth and self.sentinel.auth.secret_ref.name,
            ca_from and ca_from.secret_key_ref and ca_from.secret_key_ref.name,
            self.tls and self.tls.cert_from and self.tls.cert_from.secret_ref.name,
        ]
        return tuple(sorted({name for name in names if name}))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    rate_per_second: float | None = None
    rate_burst: int | None = None
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    rate_per_second: float | None = None
    rate_burst: int | None = None
    max_in_flight: int | None = None
    per_key: KeyLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """`name` and `heartbeat_seconds` are always set: parsing fills in what follows from other fields."""

    name: str
    key_separator: str
    sharing: Literal["Exclusive", "Shared"]
    visibility_timeout_seconds: int
    heartbeat_seconds: float
    max_delivery_count: int
    keep_completed: int
    keep_failed: int
    max_in_flight_seconds: int
    limits: QueueLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    max_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    ttl_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMapRef:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    reference: str
    pull_policy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Exactly one of them is set."""

    config_map_ref: ConfigMapRef | None = None
    image: SourceImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Exactly one of `handler` and `command` is set; `env`, `env_from` … are as in a pod."""

    image: str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[Manifest, ...] = ()
    service_account_name: str | None = None
    handler: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    source: Source | None = None
    concurrency: int
    handler_timeout_seconds: int | None = None
    protect: Literal["WhileBusy", "Always", "Never"]
    retry: Retry
    results: Results
    env: tuple[Manifest, ...] = ()
    env_from: tuple[Manifest, ...] = ()
    resources: Manifest = field(default_factory=dict)
    template: Manifest = field(default_factory=dict)

    @property
    def config_map_name(self) -> str | None:
        """The ConfigMap with the handler's files, if there is one."""
        reference = self.source and self.source.config_map_ref
        return reference.name if reference else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    stabilization_seconds: int
    max_step: int | None = None
    max_percent: int | None = None
    when_unschedulable: Literal["Grow", "Hold"]

    @property
    def holds_unschedulable(self) -> bool:
        """Whether a pod without a node keeps others from being added."""
        return self.when_unschedulable == "Hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDown:
    idle_seconds: int
    stabilization_seconds: int
    max_percent: int | None = None
    min_run_seconds: int
    busy_policy: Literal["Never", "Drain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    behavior: Literal["Hold", "AtLeast"]
    replicas: int | None = None
    after_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSchedule:
    """At least one of the two numbers is set."""

    start: str
    end: str
    time_zone: str
    min_replicas: int | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    mode: ScalingMode
    min_replicas: int
    max_replicas: int
    priority: int
    backlog_per_slot: int
    drain_within_seconds: int | None = None
    max_message_age_seconds: int | None = None
    wake: Literal["Auto", "Poll"]
    scale_up: ScaleUp
    scale_down: ScaleDown
    fallback: Fallback
    schedules: tuple[ScalingSchedule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutGate:
    min_messages: int
    max_failure_percent: int
    max_dead_letters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSpec:
    """All but `strategy` is read with Versioned only."""

    strategy: Literal["Rolling", "Versioned"]
    canary_percent: int
    hold_seconds: int
    gate: RolloutGate


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    warn_above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    timeout_seconds: int
    on_timeout: Literal["ReturnToFront", "LeaveLease"]

    @property
    def grace_period_seconds(self) -> int:
        """Of a worker: the drain, and a margin for its start and end."""
        return self.timeout_seconds + GRACE_MARGIN_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DisruptionBudget:
    """`max_unavailable`: a number, or a share such as "10%"."""

    mode: Literal["Managed", "None"]
    max_unavailable: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    replicas: int | None = None
    redis: Redis
    queue: Queue
    worker: Worker
    scaling: Scaling
    rollout: RolloutSpec
    dead_letter: DeadLetter
    drain: Drain
    disruption_budget: DisruptionBudget
    deletion_policy: Literal["Delete", "Drain", "Orphan"]
    deletion_deadline_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisQueue:
    """One resource. `raw` is what it was parsed from; `deletion` says that it is being deleted."""

    key: Key
    uid: str
    generation: int
    deletion: bool
    spec: Spec
    raw: dict[str, Any] = field(repr=False, compare=False)
