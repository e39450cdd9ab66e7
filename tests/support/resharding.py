"""Moves a slot of a cluster while clients use it."""

from __future__ import annotations

import time
from typing import Any

import redis
from redis.crc import key_slot
from tests.support.servers import QUEUE


def move_slot(client: Any, pause_seconds: float = 0.3) -> None:
    """Move the slot of the queue to another master, as `redis-cli --cluster reshard` does."""
    slot = key_slot(QUEUE.encode())
    source = client.nodes_manager.get_node_from_slot(slot)
    target = next(each for each in client.get_primaries() if each.name != source.name)
    with redis.Redis(source.host, source.port) as old, redis.Redis(target.host, target.port) as new:
        old_id, new_id = (each.execute_command("CLUSTER", "MYID").decode() for each in (old, new))
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        time.sleep(pause_seconds)
        for key in old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            old.execute_command("MIGRATE", target.host, target.port, key, 0, 5000)
            time.sleep(pause_seconds)  # the queue lies on two nodes
        for each in (new, old):
            each.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
    client.nodes_manager.initialize()
