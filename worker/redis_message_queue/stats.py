"""All counters of many queues in one round trip, and the marks that ask idle workers to stop claiming."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from redis_message_queue import _transport
from redis_message_queue._transport import over_fresh, over_fresh_async
from redis_message_queue.client_checks import is_cluster
from redis_message_queue.exceptions import ConfigurationError
from redis_message_queue.keys import HELD
from redis_message_queue.operations import Call, Text, as_text, milliseconds, script
from redis_message_queue.trouble import is_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    import redis.asyncio

    from redis_message_queue.keys import QueueKeys

__all__ = [
    "Holder",
    "QueueSample",
    "QueueStats",
    "VersionOutcomes",
    "WorkerState",
    "retire",
    "retire_async",
    "sample",
    "sample_async",
    "unretire",
    "unretire_async",
]

_WORKER_EXPIRY_MS = 60_000
_AT_ONCE_IN_A_CLUSTER = 16


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one worker said about itself; the times are the server's."""

    id: str
    protocol: int
    pod_uid: str
    owner_uid: str
    slots: int
    busy: int
    oldest_start_ms: int | None
    draining: bool
    config_hash: str
    updated_ms: int
    retired: bool
    tripped: bool = False


@dataclass(frozen=True, slots=True)
class VersionOutcomes:
    """What became of the messages that workers of one configuration had, as far back as Redis remembers.

    Attributes:
        done: handlers that returned.
        failed: handlers that raised, timed out or died; what they asked for (a retry, a dead letter) is none.
        dead_letters: messages given up, for whatever reason.
        updated_ms: when a worker of it was last heard of; None when only its outcomes are known.
    """

    config_hash: str
    done: int = 0
    failed: int = 0
    dead_letters: int = 0
    updated_ms: int | None = None


class Holder(NamedTuple):
    """A process, by the `instance` of its `WorkerIdentity`, and how many messages it has in hand."""

    instance: str
    messages: int


@dataclass(frozen=True, slots=True)
class QueueSample:
    """The numbers of one queue at the server's `time_ms`.

    `pending` counts those that wait by priority or limit key, too. `next_due_seconds` and
    `next_expiry_seconds` are 0 for what is due or expired already, None without any. `claims_total` is None
    when no leased claim was ever made. `workers` are those heard of in the last 60 s, `versions` the
    configurations of workers in the last day, `holders` the processes with messages in hand.
    """

    pending: int
    in_flight: int
    expired: int
    processing: int
    completed: int
    failed: int
    dead_letter: int
    delayed: int
    delayed_due: int
    next_due_seconds: float | None
    next_expiry_seconds: float | None
    claims_total: int | None
    time_ms: int
    workers: tuple[WorkerState, ...]
    versions: tuple[VersionOutcomes, ...] = ()
    holders: tuple[Holder, ...] = ()

    @property
    def orphaned(self) -> int:
        """Messages in processing that have no lease: nothing will ever reclaim them."""
        return max(0, self.processing - self.in_flight)


class QueueStats(NamedTuple):
    """Numbers of messages. `delayed` counts what was published for later and is not pending yet."""

    pending: int
    processing: int
    completed: int
    failed: int
    dead_letter: int
    delayed: int


def sample_call(keys: QueueKeys) -> Call[QueueSample]:
    """Read all numbers of one queue."""
    names = (
        keys.pending,
        keys.processing,
        keys.completed,
        keys.failed,
        keys.dead_letter,
        keys.lease_deadlines,
        keys.lease_token_counter,
        keys.delayed,
        keys.workers,
        keys.versions,
        keys.lanes.waiting,
    )
    return Call(script("sample"), names, (), _queue_sample)


def retire_call(keys: QueueKeys, worker_ids: Sequence[str], ttl_seconds: float) -> Call[tuple[str, ...]]:
    """Mark idle workers for `ttl_seconds`, 0 takes the marks back."""
    if not 0 <= ttl_seconds < float("inf"):
        raise ConfigurationError(f"'ttl_seconds' must be finite and >= 0, got {ttl_seconds!r}")
    lasts = milliseconds(ttl_seconds) if ttl_seconds else 0
    return Call(
        script("retire"),
        (keys.workers,),
        (lasts, *worker_ids),
        lambda reply: tuple(as_text(worker) for worker in reply),
    )


# -- samples over a blocking client: in one pipeline, or one after the other --


def sample(
    client: redis.Redis | redis.RedisCluster, keys: Sequence[QueueKeys], *, of_master: bool = False
) -> list[QueueSample | Exception]:
    """Read all queues; a queue that cannot be read gives its exception in its place.

    One pipeline, and in a cluster one call after another. Raises `redis.RedisError` when the server itself
    cannot be reached; with `of_master` also `redis.exceptions.ReadOnlyError` when it is a replica, whose
    numbers may be old.
    """
    if of_master and not is_cluster(client):
        over_fresh(client, lambda: _require_master(client))
    return _transport.execute_many(client, [sample_call(each) for each in keys])


def _require_master(client: Any) -> None:
    try:
        hello = client.execute_command("HELLO")  # which every user may say
    except ResponseError:
        return  # a proxy that does not let it pass: nobody knows
    _check_master(hello)


# -- samples over an asyncio client: in one pipeline, or some at once --


async def sample_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
    keys: Sequence[QueueKeys],
    *,
    of_master: bool = False,
) -> list[QueueSample | Exception]:
    """As `sample`, over an asyncio client: in a cluster some calls at once."""
    if is_cluster(client):
        gate = asyncio.Semaphore(_AT_ONCE_IN_A_CLUSTER)
        return list(await asyncio.gather(*(_one(client, each, gate) for each in keys)))

    async def ask() -> list[Any]:
        replies = await _pipelined(client, keys, of_master=of_master)
        if gone := next(filter(is_elsewhere, replies), None):
            raise gone
        return replies

    replies = await over_fresh_async(client, ask)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        # Over the pool, as the pipeline: a single call would keep a connection that nobody uses again.
        first = sample_call(keys[0])
        words = ("EVAL", first.script.text, len(first.keys), *first.keys)
        await _transport.send_async(client, "execute_command", *words, **{NEVER_DECODE: True})
        replies = await ask()
    return [
        reply if isinstance(reply, Exception) else sample_call(each).parse(reply)
        for each, reply in zip(keys, replies, strict=True)
    ]


async def _pipelined(client: Any, keys: Sequence[QueueKeys], *, of_master: bool) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        if of_master:  # every user may say HELLO; where a proxy does not let it pass, nobody knows
            pipeline.execute_command("HELLO")
        for each in keys:
            call = sample_call(each)
            pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
    if of_master:
        _check_master(replies.pop(0))
    return replies


async def _one(client: Any, keys: QueueKeys, gate: asyncio.Semaphore) -> QueueSample | Exception:
    try:
        async with gate:
            return await _transport.execute_async(client, sample_call(keys))
    except Exception as error:
        return error


# -- marks --


async def retire_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster,
    keys: QueueKeys,
    worker_ids: Sequence[str],
    ttl_seconds: float = 30,
) -> tuple[str, ...]:
    """Ask idle workers to claim no more for a while; the ids that were idle and are marked now.

    A worker that is busy, draining or unknown is left alone. The mark ends by itself after `ttl_seconds`.
    """
    return (
        await _transport.execute_async(client, retire_call(keys, worker_ids, ttl_seconds))
        if worker_ids
        else ()
    )


async def unretire_async(
    client: redis.asyncio.Redis | redis.asyncio.RedisCluster, keys: QueueKeys, worker_ids: Sequence[str]
) -> tuple[str, ...]:
    """Take `retire` back; the ids that are known and free to claim now."""
    return await _transport.execute_async(client, retire_call(keys, worker_ids, 0)) if worker_ids else ()


# -- what the replies say --


def _check_master(hello: Any) -> None:
    """Raise ReadOnlyError when the reply to HELLO says that this is a replica; other replies say nothing."""
    if isinstance(hello, list):
        hello = dict(zip(hello[::2], hello[1::2], strict=False))
    if isinstance(hello, dict) and {hello.get("role"), hello.get(b"role")} & {"replica", b"replica"}:
        raise ReadOnlyError("this server is a replica")


def _queue_sample(reply: Sequence[Any]) -> QueueSample:
    words = as_text(reply[0]).split(" ")
    time_ms, pending, processing, completed, failed, dead, in_flight, expired = map(int, words[:8])
    deadline, delayed, delayed_due, due, counter = words[8:]
    fields = [(as_text(field), value) for field, value in zip(reply[2::2], reply[3::2], strict=True)]
    held = [(field, value) for field, value in fields if field.startswith(HELD)]
    workers = (_worker_state(field, value, time_ms) for field, value in fields if not field.startswith(HELD))
    return QueueSample(
        pending=pending,
        in_flight=in_flight,
        expired=expired,
        processing=processing,
        completed=completed,
        failed=failed,
        dead_letter=dead,
        delayed=int(delayed),
        delayed_due=int(delayed_due),
        next_due_seconds=_seconds_until(due, time_ms),
        next_expiry_seconds=_seconds_until(deadline, time_ms),
        claims_total=None if counter == "-" else int(counter),
        time_ms=time_ms,
        workers=tuple(sorted((w for w in workers if w is not None), key=lambda worker: worker.id)),
        versions=_versions(reply[1]),
        holders=tuple(sorted(Holder(field.removeprefix(HELD), int(value)) for field, value in held)),
    )


def _versions(reply: Sequence[Text]) -> tuple[VersionOutcomes, ...]:
    """From `<config hash>:<what>` and numbers in turn."""
    found: dict[str, dict[str, int]] = {}
    for field, number in zip(reply[::2], reply[1::2], strict=True):
        config_hash, _, what = as_text(field).rpartition(":")
        with contextlib.suppress(ValueError):
            found.setdefault(config_hash, {})[what] = int(number)
    return tuple(
        VersionOutcomes(
            config_hash, facts.get("done", 0), facts.get("failed", 0), facts.get("dead", 0), facts.get("at")
        )
        for config_hash, facts in sorted(found.items())
    )


def _seconds_until(moment: str, time_ms: int) -> float | None:
    return None if moment == "-" else max(0, int(moment) - time_ms) / 1000


def _worker_state(worker: str, text: Text, time_ms: int) -> WorkerState | None:
    """None for a field that is damaged or has outlived its worker."""
    try:
        state = json.loads(text)
        oldest = state.get("oldest")
        found = WorkerState(
            id=worker,
            protocol=int(state["v"]),
            pod_uid=str(state.get("pod", "")),
            owner_uid=str(state.get("owner", "")),
            slots=int(state["slots"]),
            busy=int(state["busy"]),
            oldest_start_ms=None if oldest is None else int(oldest),
            draining=bool(state.get("draining")),
            config_hash=str(state.get("config", "")),
            updated_ms=int(state["at"]),
            retired=int(state.get("retire", 0)) > time_ms,
            tripped=bool(state.get("tripped")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return found if found.updated_ms >= time_ms - _WORKER_EXPIRY_MS else None


# -- The sync face, written by worker/sync_face.py from what is above: change that. --


def retire(
    client: redis.Redis | redis.RedisCluster,
    keys: QueueKeys,
    worker_ids: Sequence[str],
    ttl_seconds: float = 30,
) -> tuple[str, ...]:
    """Ask idle workers to claim no more for a while; the ids that were idle and are marked now.

    A worker that is busy, draining or unknown is left alone. The mark ends by itself after `ttl_seconds`.
    """
    return _transport.execute(client, retire_call(keys, worker_ids, ttl_seconds)) if worker_ids else ()


def unretire(
    client: redis.Redis | redis.RedisCluster, keys: QueueKeys, worker_ids: Sequence[str]
) -> tuple[str, ...]:
    """Take `retire` back; the ids that are known and free to claim now."""
    return _transport.execute(client, retire_call(keys, worker_ids, 0)) if worker_ids else ()
