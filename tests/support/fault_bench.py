"""A queue whose messages can be counted, behind a connection that may fail."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.queues import let_delayed_be_due, let_leases_expire

from redis_message_queue import RedisMessageQueue, envelope
from redis_message_queue.consumer import Consumer, Limits, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys

if TYPE_CHECKING:
    import redis
    from tests.support.faces import Face
    from tests.support.fault_proxy import FaultProxy

KEYS = QueueKeys("jobs")
LIMIT = 3
# High enough for every operation: what waits for them is not what is looked at here.
LIMITS = Limits(rate_per_second=1e6, rate_burst=1000, max_in_flight=20)
KEY_LIMITS = Limits(rate_per_second=1e6, rate_burst=1000, max_in_flight=2)
USER = "subject"  # the client that meets the faults logs in as this one


class Bench:
    """One queue, seen by a client whose connection may fail (`face`) and by one whose does not (`direct`)."""

    def __init__(
        self, face: Face, proxy: FaultProxy, direct: redis.Redis, *, retries: int = 0, **options: Any
    ) -> None:
        self.face = face
        self.proxy = proxy
        self.direct = direct
        self.held: list[Any] = []
        self.reply: Any = None
        self.client = face.client(retry=face.retry(retries), **options)
        self._gateways: dict[str, Any] = {}
        self.consumer = self._consumer("i")
        self.forgetful = self._consumer("i", keep_completed=0)
        self.limited = self._consumer("l", limits=LIMITS, key_limits=KEY_LIMITS)
        self.telling = self._consumer("t", keep_completed=0, results_ttl_seconds=60)

    def _consumer(self, instance: str, **options: Any) -> Any:
        return self.face.consumer(
            KEYS.name,
            client=self.client,
            max_delivery_count=LIMIT,
            worker=WorkerIdentity("w", 4, config_hash="v1", instance=instance),
            **{"keep_completed": 1000, **options},
        )

    async def call(self, function: Any, *args: Any, **options: Any) -> Any:
        """Call a method of the face."""
        return await self.face.call(function, *args, **options)

    def gateway(self, **options: Any) -> Any:
        """The one gateway with these options; it repeats quickly, and does not wait unless told to."""
        name = repr(options)
        if name not in self._gateways:
            self._gateways[name] = self.face.gateway(
                redis_client=self.client,
                retry_initial_delay_seconds=0.001,
                retry_max_delay_seconds=0.001,
                **{"message_wait_interval_seconds": 0, **options},
            )
        return self._gateways[name]

    @property
    def leased(self) -> Any:
        """A gateway with leases."""
        return self.gateway(
            message_visibility_timeout_seconds=30,
            max_delivery_count=LIMIT,
            dead_letter_queue=KEYS.dead_letter,
        )

    def queue(self, gateway: Any = None, **options: Any) -> Any:
        """A queue over a gateway."""
        return self.face.queue(KEYS.name, gateway=gateway or self.leased, **options)

    def ledger(self) -> Counter[str]:
        """How often each payload is in the queue, wherever it is."""
        found: list[Any] = []
        for key in (KEYS.pending, KEYS.processing, KEYS.completed, KEYS.failed, KEYS.dead_letter):
            found += self.direct.lrange(key, 0, -1)
        found += self.direct.zrange(KEYS.delayed, 0, -1)
        found += [member.split(b"\0", 2)[2] for member in self.direct.zrange(KEYS.lanes.waiting, 0, -1)]
        return Counter(str(envelope.decode(stored.decode()).payload) for stored in found)

    def finish(self) -> None:
        """Time passes, and a healthy consumer handles whatever is left."""
        let_leases_expire(self.direct, KEYS)
        let_delayed_be_due(self.direct, KEYS)
        consumer = Consumer(self.direct, "jobs", max_delivery_count=None, keep_completed=1000)
        while claims := consumer.claim(100).claims:
            ends = [Settlement(claim, Outcome.DONE) for claim in claims]
            applied = consumer.settle(ends).applied
            assert all(applied), (claims, applied)
            let_delayed_be_due(self.direct, KEYS)

    def check_limits(self) -> None:
        """A key that still counts what has ended lets as many go as others, when it is looked at again."""
        counted = self.direct.zrange(KEYS.lanes.held, 0, -1)
        queue = RedisMessageQueue(KEYS.name, client=self.direct, deduplication=False)
        limited = Consumer(self.direct, KEYS.name, key_limits=KEY_LIMITS)
        for key in {member.split(b"\0")[0].decode() for member in counted}:
            queue.enqueue_many(range(3), limit_key=key)
            claims = [*limited.claim(3).claims]
            self.direct.zadd(KEYS.lanes.turns, {f"1{key}": 0}, xx=True)
            claims += limited.claim(3).claims
            assert len(claims) == KEY_LIMITS.max_in_flight, key
            limited.settle([Settlement(claim, Outcome.DONE) for claim in claims])
            queue.purge(target="pending")
