"""What both consumers do, each once, as a flow."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.client import NEVER_DECODE
from redis.exceptions import OutOfMemoryError

from redis_message_queue._batch import RECOVER_ALL, ConsumerState, requests
from redis_message_queue._clock import monotonic
from redis_message_queue._flow import Flow, Sleep
from redis_message_queue.client_checks import check_face, require_one_slot
from redis_message_queue.keys import QueueKeys, held_field
from redis_message_queue.operations import Call, decodes
from redis_message_queue.options import ConsumerOptions
from redis_message_queue.trouble import AWAY
from redis_message_queue.validation import picked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redis_message_queue.messages import Claim, Due, Settlement, SettleReply

logger = logging.getLogger(__name__)

# No wait blocks longer in one command: short enough to notice a stop, and well under any socket timeout.
LONGEST_BLOCK_SECONDS = 1.0
_SHORTEST_BLOCK_SECONDS = 0.01


class ConsumerFlows:
    """A consumer that does not care whether it runs in a thread or on an event loop."""

    def _set_up(
        self,
        arguments: Mapping[str, Any],
        execute: Callable[..., Any],
        send: Callable[..., Any],
        *,
        asyncio: bool,
    ) -> None:
        """Begin with the arguments of the constructor, by their names."""
        client = arguments["client"]
        keys = QueueKeys(arguments["name"], arguments["key_separator"])
        options = picked(ConsumerOptions, {**arguments, "keys": keys})
        check_face(client, asyncio=asyncio, name="client")
        require_one_slot(client, keys)
        self._client: Any = client
        self._execute, self._send = execute, send
        self._state = ConsumerState(options, decode=decodes(client))

    @property
    def keys(self) -> QueueKeys:
        """The key names of the queue."""
        return self._state.options.keys

    def _settle(
        self, settlements: Sequence[Settlement], claim: int, in_hand: int | None, due: Due
    ) -> Flow[SettleReply]:
        parts, answered = requests(settlements), []
        for places in parts:
            count = claim if places is parts[-1] else 0
            attempt = self._state.begin(
                [settlements[place] for place in places], count, in_hand=in_hand, due=due
            )
            try:
                answered.append((attempt, (yield partial(self._execute, self._client, attempt.call))))
            except BaseException:
                self._state.lost(attempt)
                raise
        settled = self._state.all_done(parts, answered)
        if settled.claimed.given_up:
            yield from self._free_keys(settled.claimed.given_up)
        return settled

    def _free_keys(self, given_up: Sequence[bytes]) -> Flow[None]:
        try:
            if markers := self._state.markers(given_up):
                yield partial(self._send, self._client, "delete", *markers)
        except AWAY as error:  # they end by themselves, only later
            logger.debug("Deduplication keys of dead letters are left to expire: %s", error)

    def _recover(self) -> Flow[tuple[Claim, ...]]:
        recovered: list[Claim] = []
        for _ in range(self._state.unresolved):
            attempt = self._state.begin((), RECOVER_ALL, fresh=False)
            try:
                reply = yield partial(self._execute, self._client, attempt.call)
            except BaseException:
                self._state.lost(attempt)
                raise
            recovered.extend(self._state.done(attempt, reply).claimed.claims)
        return tuple(recovered)

    def _renew(self, claims: Sequence[Claim]) -> Flow[tuple[bool, ...]]:
        renewed: list[bool] = []
        for call in self._state.renewals(claims):
            renewed += yield partial(self._execute, self._client, call)
        return tuple(renewed)

    def _wait(self, timeout_seconds: float) -> Flow[bool]:
        end = monotonic() + timeout_seconds
        while True:
            left = end - monotonic()
            block = max(_SHORTEST_BLOCK_SECONDS, min(LONGEST_BLOCK_SECONDS, left))
            if (yield from self._woken(block)):
                return True
            if left <= LONGEST_BLOCK_SECONDS:
                return False

    def _woken(self, block: float) -> Flow[bool]:
        pending = self.keys.pending
        # Tail to tail: the list stays as it is. The message itself may be anything, so it is not decoded.
        words = ("execute_command", "BLMOVE", pending, pending, "RIGHT", "RIGHT", block)
        try:
            woken = yield partial(self._send, self._client, *words, **{NEVER_DECODE: True})
        except OutOfMemoryError:
            # At maxmemory the server refuses even a move that changes nothing: look, and wait here.
            if (yield partial(self._client.llen, pending)):
                return True
            yield Sleep(block)
            return False
        return woken is not None

    def _report(self, call: Call[int]) -> Flow[None]:
        yield partial(self._execute, self._client, call)

    def _deregister(self) -> Flow[None]:
        worker = self._state.worker
        fields = (worker.id, held_field(worker.instance)) if worker.instance else (worker.id,)
        yield partial(self._send, self._client, "hdel", self.keys.workers, *fields)
