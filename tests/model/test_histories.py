"""No random history loses a message, doubles it, or serves it out of turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.batch_machine import BatchMachine
from tests.support.histories import TIMEOUT_SECONDS, run_histories
from tests.support.lane_machine import LaneMachine
from tests.support.leased_machine import LeasedMachine
from tests.support.mixed_machine import MixedMachine
from tests.support.plain_machine import PlainMachine
from tests.support.v7 import Peer, require_v7, require_v11

if TYPE_CHECKING:
    from tests.support.faulty_redis import Wire

PEERS = {"v7": require_v7, "v11": require_v11}

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)


def test_leased_work_of_all_kinds_of_consumers(wire: Wire) -> None:
    run_histories(LeasedMachine, wire, steps=9_600)


def test_plain_work(wire: Wire) -> None:
    run_histories(PlainMachine, wire, steps=3_500)


def test_priorities_and_limit_keys(wire: Wire) -> None:
    run_histories(LaneMachine, wire, steps=1_500)


def test_batches(wire: Wire) -> None:
    run_histories(BatchMachine, wire, steps=1_000)


@pytest.mark.interop
@pytest.mark.parametrize("library", PEERS)
def test_priorities_and_limit_keys_beside_others(wire: Wire, library: str) -> None:
    PEERS[library]()
    with Peer(library, wire.url) as peer:
        run_histories(LaneMachine, wire, steps=700, peer=peer)


@pytest.mark.interop
@pytest.mark.parametrize("library", PEERS)
def test_leased_work_shared_with_others(wire: Wire, library: str) -> None:
    PEERS[library]()
    with Peer(library, wire.url) as peer:
        run_histories(MixedMachine, wire, steps=1_500, peer=peer)
