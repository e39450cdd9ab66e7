"""The Redis key names of a queue: the wire contract that every process of a queue shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from redis_message_queue.exceptions import ConfigurationError


def _name(pattern: str, holds: str) -> cached_property[str]:
    """A key's name, put together from the fields of its owner the first time that it is asked for."""

    def put_together(owner: Any) -> str:
        return pattern.format_map(vars(owner))

    put_together.__doc__ = holds
    return cached_property(put_together)


@dataclass(frozen=True)
class LeaseKeys:
    """Keys that hang off a processing list; their suffixes use a single colon, whatever the separator is."""

    processing: str

    deadlines = _name(
        "{processing}:lease_deadlines",
        "Sorted set: stored message → end of its lease, ms since the epoch by the server's clock.",
    )
    tokens = _name("{processing}:lease_tokens", "Hash: stored message → current lease token.")
    token_counter = _name(
        "{processing}:lease_token_counter",
        "Integer string: the source of lease tokens; never reset, so it counts claims.",
    )
    delivery_counts = _name(
        "{processing}:delivery_counts", "Hash: stored message → number of deliveries so far."
    )
    claim_result_refs = _name(
        "{processing}:claim_result_refs", "Hash: lease token → name of its claim record."
    )
    claim_result_ids = _name("{processing}:claim_result_ids", "Hash: claim id → content of its claim record.")
    claim_result_backrefs = _name(
        "{processing}:claim_result_backrefs",
        "Hash: lease token (or, without leases, stored message) → claim id.",
    )
    notes = _name(
        "{processing}:notes",
        "Hash: stored message that had trouble → `failed lost kept` (see `scripts/parts/notes.lua`).",
    )
    dead_letter_placeholder = _name(
        "{processing}:dead_letter_placeholder",
        "Never written: stands in for a dead-letter list where none is configured.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Processing and what tells of its claims, in the order in which scripts are given them."""
        return (
            self.processing,
            self.deadlines,
            self.tokens,
            self.token_counter,
            self.delivery_counts,
            self.claim_result_refs,
            self.claim_result_ids,
            self.claim_result_backrefs,
        )

    def claim_result(self, claim_id: str) -> str:
        """String: what the claim with this id was given, so that a lost reply can be repeated."""
        return f"{self.processing}:claim_result:{claim_id}"

    def operation_result(self, operation_id: str) -> str:
        """String: what the ack or move with this id answered."""
        return f"{self.processing}:operation_result:{operation_id}"


@dataclass(frozen=True)
class LaneKeys:
    """Keys that hang off a pending list: of messages with a priority or a limit key."""

    pending: str

    waiting = _name(
        "{pending}:waiting", "Sorted set: those that wait, as lane, number and stored message; scores are 0."
    )
    turns = _name(
        "{pending}:turns",
        "Sorted set: lane with messages → its turn, or from when on (ms) its limit lets one go.",
    )
    rates = _name(
        "{pending}:rates",
        "Sorted set: limit key, or empty for the queue → when (ms) its rate has its whole burst again.",
    )
    held = _name(
        "{pending}:held", "Sorted set: limit key and stored message in flight, where a limit counts them."
    )


@lru_cache(1024)
def lane_keys(pending: str) -> LaneKeys:
    """The same as `LaneKeys(pending)`, whose names were most likely put together before."""
    return LaneKeys(pending)


@lru_cache(1024)
def lease_keys(processing: str) -> LeaseKeys:
    """The same as `LeaseKeys(processing)`, whose names were most likely put together before."""
    return LeaseKeys(processing)


def _lease_name(name: str) -> cached_property[str]:
    """The name that a queue's `leases` have under `name`."""
    return cached_property(lambda queue: str(getattr(queue.leases, name)))


@dataclass(frozen=True)
class QueueKeys:
    """All key names of the queue `name`."""

    name: str
    separator: str = "::"

    pending = _name(
        "{name}{separator}pending",
        "List: newest at the head (left), next to claim at the tail (right).",
    )
    processing = _name("{name}{separator}processing", "List: messages in flight, newest claim at the head.")
    completed = _name("{name}{separator}completed", "List: payloads that were handled, newest at the head.")
    failed = _name("{name}{separator}failed", "List: payloads whose handler failed, newest at the head.")
    dead_letter = _name("{name}{separator}dlq", "List: payloads that were given up, newest at the head.")
    dead_letter_info = _name(
        "{name}{separator}dlq_info",
        "List: a JSON record (id, reason, digest, time) of each dead letter, newest at the head, capped.",
    )
    failed_info = _name(
        "{name}{separator}failed_info", "List: the same of each failed message that a worker kept."
    )
    completed_info = _name(
        "{name}{separator}completed_info", "List: the same of each completed message that a worker kept."
    )
    delayed = _name(
        "{name}{separator}delayed",
        "Sorted set: stored message → when it is due, ms since the epoch by the server's clock.",
    )
    cancelled = _name(
        "{name}{separator}pending:cancelled",
        "Hash: id, or SHA-1 of the stored form, of a message that is to be cancelled → `ms key`: when that"
        " was asked, its result's key.",
    )
    workers = _name(
        "{name}{separator}workers",
        "Hash: worker id → its JSON state; `held:` and instance → its leases. Expires after the last report.",
    )
    versions = _name(
        "{name}{separator}versions",
        "Hash: config hash and outcome → how many messages; expires a day after the last report.",
    )
    result_prefix = _name("{name}{separator}result{separator}", "What the name of every result begins with.")
    deduplication_prefix = _name(
        "{name}{separator}deduplication{separator}", "What every deduplication marker's name begins with."
    )

    lease_deadlines = _lease_name("deadlines")
    lease_tokens = _lease_name("tokens")
    lease_token_counter = _lease_name("token_counter")
    delivery_counts = _lease_name("delivery_counts")
    claim_result_refs = _lease_name("claim_result_refs")
    claim_result_ids = _lease_name("claim_result_ids")
    claim_result_backrefs = _lease_name("claim_result_backrefs")
    notes = _lease_name("notes")

    @cached_property
    def lanes(self) -> LaneKeys:
        """The keys that hang off the pending list."""
        return lane_keys(self.pending)

    @cached_property
    def leases(self) -> LeaseKeys:
        """The keys that hang off the processing list."""
        return lease_keys(self.processing)

    @cached_property
    def of_consumers(self) -> tuple[str, ...]:
        """All that a script of consumers is given, in its order."""
        lease, lanes = self.leases, self.lanes
        return (
            self.pending,
            *lease.names,
            self.delayed,
            self.completed,
            self.failed,
            self.dead_letter,
            self.dead_letter_info,
            self.workers,
            self.versions,
            lease.notes,
            lanes.waiting,
            lanes.turns,
            lanes.rates,
            lanes.held,
        )

    def claim_result(self, claim_id: str) -> str:
        """See `LeaseKeys.claim_result`."""
        return self.leases.claim_result(claim_id)

    def result(self, message_id: str) -> str:
        """List of one text: what became of the message with this id (see `results`)."""
        return f"{self.result_prefix}{message_id}"

    def redrive(self, name: str) -> str:
        """Hash: how far the redrive of this name is."""
        return f"{self.name}{self.separator}redrive{self.separator}{name}"

    def deduplication(self, text: str) -> str:
        """Name of the marker for one deduplication text. Raises ConfigurationError unless it is a text."""
        if not isinstance(text, str) or not text:
            raise ConfigurationError(
                f"a deduplication key must be a non-empty string, got {text!r}: with one key for all, every"
                " message would be a duplicate of the first"
            )
        return f"{self.deduplication_prefix}{text}"


def keys_beside(key: str) -> QueueKeys:
    """The names of the queue that a list belongs to; of any other list, of a queue that is called like it."""
    for end in ("pending", "processing", "completed", "failed", "dlq"):
        prefix = key.removesuffix(end)
        if prefix != key and len(prefix) > 1:
            return QueueKeys(prefix[:-1], prefix[-1])  # whatever its separator is: names are the same
    return QueueKeys(key)


def has_hash_tag(name: str) -> bool:
    """Whether the first `{` of `name` is followed by a non-empty tag, as the cluster reads it."""
    _, opened, rest = name.partition("{")
    tag, closed, _ = rest.partition("}")
    return bool(opened and closed and tag)


HELD = "held:"


def held_field(instance: str) -> str:
    """The field of `QueueKeys.workers` with the leases of a process; empty for a process without instance."""
    return HELD + instance if instance else ""


def purged(key: str) -> str:
    """List or sorted set: what a purge has taken out of `key` and not removed yet."""
    return f"{key}:purged"


class Marker(str):
    """The name of a deduplication marker that does not come from the content: it knows its `key`."""

    __slots__ = ("key",)

    key: str

    @classmethod
    def of(cls, name: str, key: str) -> Marker:
        """The marker of that name, for that key."""
        marker = cls(name)
        marker.key = key
        return marker
