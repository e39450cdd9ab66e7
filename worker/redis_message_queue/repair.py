"""Making leases whole again, of which a part was lost: evicted, deleted by hand. As calls and a flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from redis_message_queue.operations import Call, as_text, milliseconds, script

if TYPE_CHECKING:
    from redis_message_queue._flow import Flow
    from redis_message_queue._gateway import GatewayFlows
    from redis_message_queue.keys import QueueKeys

MOST_AT_ONCE = 500
BYTES_AT_ONCE = 1 << 20
# Entries of processing that one call may compare in its search for messages.
COMPARED_AT_ONCE = 200_000


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair found of a queue; in a dry run all of it is left as it was.

    Attributes:
        looked_at: messages in processing.
        without_deadline: had a token alone: nobody would ever have taken them back.
        without_lease: had neither: in the hand of a consumer without a visibility timeout, or lost by one.
        without_message: leases whose message was gone from processing.
    """

    looked_at: int = 0
    without_deadline: int = 0
    without_lease: int = 0
    without_message: int = 0

    @property
    def found(self) -> int:
        """How many messages had no whole lease."""
        return self.without_deadline + self.without_lease + self.without_message


class _Page(NamedTuple):
    length: int
    tokens: int
    entries: int
    size: int
    leased: int
    without_deadline: int
    without_lease: int


class _Restored(NamedTuple):
    cursor: str
    looked_at: int
    restored: int


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair; `lease_seconds` for what has a token, `grace_seconds` for what has none."""

    gateway: GatewayFlows
    keys: QueueKeys
    lease_seconds: float
    grace_seconds: float
    dry_run: bool

    def flow(self) -> Flow[RepairReport]:
        """From the oldest message on, where those without a lease are: the others leave."""
        looked_at = leased = without_deadline = without_lease = 0
        count = 1
        while True:
            page = yield from self.gateway._call_retrying(self._look(looked_at, count))  # noqa: SLF001
            looked_at += page.entries
            leased += page.leased
            without_deadline += page.without_deadline
            without_lease += page.without_lease
            if looked_at >= page.length or not page.entries:
                break
            count = _next_count(count, page)
        restored = 0
        if page.tokens > leased:
            restored = yield from self._restore(page.length)
        return RepairReport(looked_at, without_deadline, without_lease, restored)

    def _restore(self, length: int) -> Flow[int]:
        cursor, restored = "0", 0
        while True:
            count = max(1, min(MOST_AT_ONCE, COMPARED_AT_ONCE // max(1, length)))
            page = yield from self.gateway._call_retrying(self._search(cursor, count))  # noqa: SLF001
            cursor, restored = page.cursor, restored + page.restored
            length += 0 if self.dry_run else page.restored
            if cursor == "0":
                return restored

    def _look(self, passing_over: int, count: int) -> Call[_Page]:
        lease, grace = milliseconds(self.lease_seconds), milliseconds(self.grace_seconds)
        return Call(
            script("lease_again"),
            self._names,
            (passing_over, count, lease, grace, self._dry),
            lambda reply: _Page(*map(int, reply)),
        )

    def _search(self, cursor: str, count: int) -> Call[_Restored]:
        return Call(
            script("restore"),
            self._names,
            (cursor, count, milliseconds(self.lease_seconds), self._dry),
            lambda reply: _Restored(as_text(reply[0]), int(reply[1]), int(reply[2])),
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return self.keys.processing, self.keys.lease_deadlines, self.keys.lease_tokens

    @property
    def _dry(self) -> str:
        return "1" if self.dry_run else ""


def _next_count(count: int, page: _Page) -> int:
    """How many messages to look at next, by the size of these: at most 1 MiB, if they are alike."""
    fitting = BYTES_AT_ONCE * page.entries // max(1, page.size)
    return max(1, min(MOST_AT_ONCE, 4 * count, fitting))
