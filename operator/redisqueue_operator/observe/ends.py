"""Which processes a pod shows to be dead: those of containers that the kubelet saw end, and of no others.

A pod that is gone, not ready, of unknown state or on a node that is silent shows nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redisqueue_worker.identity import read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redisqueue_operator.api.model import Key

MOST_REMEMBERED = 1000
"""Of one RedisQueue. Whoever died earlier holds nothing any more, or its leases end by themselves."""
# The kubelet has found no trace of it: how it ended, and whether, nobody saw.
_UNSEEN = "ContainerStatusUnknown"


def ended_in(pod: dict[str, Any]) -> Iterator[str]:
    """The instances that its containers named before they ended, the present one and the one before."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        for state in (container.get("state"), container.get("lastState")):
            ended = (state or {}).get("terminated") or {}
            instance, _ = read_words(str(ended.get("message") or ""))
            if instance and ended.get("reason") != _UNSEEN:
                yield instance


def remember(ended: dict[str, None], instance: str) -> None:
    """This one has ended, too; of too many the one that ended first is forgotten."""
    ended[instance] = None
    if len(ended) > MOST_REMEMBERED:
        del ended[next(iter(ended))]


class Ends:
    """The processes that were seen to be dead, by RedisQueue, also those of pods that are gone since."""

    def __init__(self) -> None:
        self._ended: dict[Key, dict[str, None]] = {}

    def of(self, owner: Key) -> tuple[str, ...]:
        """Their instances."""
        return tuple(self._ended.get(owner, ()))

    def note(self, owner: Key, instances: Iterable[str]) -> None:
        """These have ended."""
        for instance in instances:
            remember(self._ended.setdefault(owner, {}), instance)

    def forget(self, owner: Key) -> None:
        """The RedisQueue is gone."""
        self._ended.pop(owner, None)
