"""What came back by an expired lease runs beside nothing else: if the process ends, it is known why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis_message_queue.consumer import Claim

log = logging.getLogger(__name__)


class Quarantine:
    """Which claims of this process keep others away, told what comes and how many handlers run.

    Attributes:
        kept: leased, so that no other worker has to wait for room too, and not begun: to be released, and
            claimed again, once no handler runs.
    """

    def __init__(self) -> None:
        self.kept: list[Claim] = []
        self._apart = False

    def admit(self, claims: Sequence[Claim]) -> list[Claim]:
        """Those of one claim that may begin now; the others are kept."""
        self.kept += [claim for claim in claims if claim.kept]
        begun = [claim for claim in claims if not claim.kept]
        if begun:
            self._apart = any(claim.lost_leases for claim in begun)
        if self._apart and begun:
            log.info(
                "came back by an expired lease: nothing is handled beside",
                extra={"message_ids": [claim.id for claim in begun]},
            )
        return begun

    def room(self, free: int, *, running: int) -> int:
        """How many messages to claim at most, `free` being what the slots have room for."""
        return 0 if self.kept or (self._apart and running) else free

    def over(self, *, running: int) -> list[Claim]:
        """The kept ones that are to be released now; they are kept no longer."""
        over, self.kept = ([], self.kept) if running else (self.kept, [])
        return over
