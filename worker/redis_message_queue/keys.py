"""The Redis key names of a queue: the wire contract that every process of a queue shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from redis_message_queue.exceptions import ConfigurationError


@dataclass(frozen=True)
class LeaseKeys:
    """Keys that hang off a processing list; their suffixes use a single colon, whatever the separator is."""

    processing: str

    @cached_property
    def deadlines(self) -> str:
        """Sorted set: stored message → end of its lease, ms since the epoch by the server's clock."""
        return f"{self.processing}:lease_deadlines"

    @cached_property
    def tokens(self) -> str:
        """Hash: stored message → current lease token."""
        return f"{self.processing}:lease_tokens"

    @cached_property
    def token_counter(self) -> str:
        """Integer string: the source of lease tokens; never reset, so it counts claims."""
        return f"{self.processing}:lease_token_counter"

    @cached_property
    def delivery_counts(self) -> str:
        """Hash: stored message → number of deliveries so far."""
        return f"{self.processing}:delivery_counts"

    @cached_property
    def claim_result_refs(self) -> str:
        """Hash: lease token → name of its claim record."""
        return f"{self.processing}:claim_result_refs"

    @cached_property
    def claim_result_ids(self) -> str:
        """Hash: claim id → content of its claim record."""
        return f"{self.processing}:claim_result_ids"

    @cached_property
    def claim_result_backrefs(self) -> str:
        """Hash: lease token (or, without leases, stored message) → claim id."""
        return f"{self.processing}:claim_result_backrefs"

    @cached_property
    def notes(self) -> str:
        """Hash: stored message that had trouble → `failed lost kept` (see `scripts/parts/notes.lua`)."""
        return f"{self.processing}:notes"

    def claim_result(self, claim_id: str) -> str:
        """String: what the claim with this id was given, so that a lost reply can be repeated."""
        return f"{self.processing}:claim_result:{claim_id}"

    def operation_result(self, operation_id: str) -> str:
        """String: what the ack or move with this id answered."""
        return f"{self.processing}:operation_result:{operation_id}"

    @cached_property
    def dead_letter_placeholder(self) -> str:
        """Never written: stands in for a dead-letter list where none is configured."""
        return f"{self.processing}:dead_letter_placeholder"


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


@lru_cache(1024)
def lease_keys(processing: str) -> LeaseKeys:
    """The same as `LeaseKeys(processing)`, whose names were most likely put together before."""
    return LeaseKeys(processing)


def purged(key: str) -> str:
    """List or sorted set: what a purge has taken out of `key` and not removed yet."""
    return f"{key}:purged"


@dataclass(frozen=True)
class QueueKeys:
    """All key names of the queue `name`."""

    name: str
    separator: str = "::"

    def _key(self, suffix: str) -> str:
        return f"{self.name}{self.separator}{suffix}"

    @cached_property
    def pending(self) -> str:
        """List: newest at the head (left), next to claim at the tail (right)."""
        return self._key("pending")

    @cached_property
    def processing(self) -> str:
        """List: messages in flight, newest claim at the head."""
        return self._key("processing")

    @cached_property
    def completed(self) -> str:
        """List: payloads that were handled, newest at the head."""
        return self._key("completed")

    @cached_property
    def failed(self) -> str:
        """List: payloads whose handler failed, newest at the head."""
        return self._key("failed")

    @cached_property
    def dead_letter(self) -> str:
        """List: payloads that were given up, newest at the head."""
        return self._key("dlq")

    @cached_property
    def dead_letter_info(self) -> str:
        """List: a JSON record (id, reason, digest, time) of each dead letter, newest at the head, capped."""
        return self._key("dlq_info")

    @cached_property
    def delayed(self) -> str:
        """Sorted set: stored message → when it is due, ms since the epoch by the server's clock."""
        return self._key("delayed")

    @cached_property
    def workers(self) -> str:
        """Hash: worker id → its JSON state; the whole key expires 60 s after the last report."""
        return self._key("workers")

    def redrive(self, name: str) -> str:
        """Hash: how far the redrive of this name is."""
        return self._key(f"redrive{self.separator}{name}")

    @cached_property
    def versions(self) -> str:
        """Hash: config hash and outcome → how many messages; expires a day after the last report."""
        return self._key("versions")

    @cached_property
    def deduplication_prefix(self) -> str:
        """What every deduplication marker's name begins with."""
        return f"{self._key('deduplication')}{self.separator}"

    def deduplication(self, text: str) -> str:
        """Name of the marker for one deduplication text. Raises ConfigurationError unless it is a text."""
        if not isinstance(text, str) or not text:
            raise ConfigurationError(
                f"a deduplication key must be a non-empty string, got {text!r}: with one key for all, every"
                " message would be a duplicate of the first"
            )
        return f"{self.deduplication_prefix}{text}"

    @cached_property
    def leases(self) -> LeaseKeys:
        """The keys that hang off the processing list."""
        return lease_keys(self.processing)

    @cached_property
    def lease_deadlines(self) -> str:
        """See `LeaseKeys.deadlines`."""
        return self.leases.deadlines

    @cached_property
    def lease_tokens(self) -> str:
        """See `LeaseKeys.tokens`."""
        return self.leases.tokens

    @cached_property
    def lease_token_counter(self) -> str:
        """See `LeaseKeys.token_counter`."""
        return self.leases.token_counter

    @cached_property
    def delivery_counts(self) -> str:
        """See `LeaseKeys.delivery_counts`."""
        return self.leases.delivery_counts

    @cached_property
    def claim_result_refs(self) -> str:
        """See `LeaseKeys.claim_result_refs`."""
        return self.leases.claim_result_refs

    @cached_property
    def claim_result_ids(self) -> str:
        """See `LeaseKeys.claim_result_ids`."""
        return self.leases.claim_result_ids

    @cached_property
    def claim_result_backrefs(self) -> str:
        """See `LeaseKeys.claim_result_backrefs`."""
        return self.leases.claim_result_backrefs

    @cached_property
    def notes(self) -> str:
        """See `LeaseKeys.notes`."""
        return self.leases.notes

    def claim_result(self, claim_id: str) -> str:
        """See `LeaseKeys.claim_result`."""
        return self.leases.claim_result(claim_id)
