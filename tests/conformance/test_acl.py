"""The users that the README describes can do their work and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.acl import ROLES, documented, grant
from tests.support.duties import DUTIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.faces import Face
    from tests.support.servers import Server

pytestmark = pytest.mark.one_node  # a cluster keeps users on each node: the same rules, set more often


@pytest.fixture
def users(redis_client: redis.Redis, node: redis.Redis) -> Iterator[redis.Redis]:
    """A user for each role; gives a client with all rights."""
    for role in ROLES:
        grant(node, role, role)
    node.acl_log_reset()
    yield node
    node.acl_deluser(*ROLES)


async def test_each_role_has_the_rights_for_its_work(face: Face, server: Server, users: redis.Redis) -> None:
    for role, duty in DUTIES.items():
        await duty(face, face.login(role))
    refused = [(entry["username"], entry["object"]) for entry in users.acl_log()]
    # Asked once, to recognise a cluster's node; a refusal is taken for a no.
    assert set(refused) <= {(role, "info") for role in ROLES}, refused


@pytest.mark.parametrize("role", ROLES)
def test_no_role_has_a_right_that_it_does_not_need(role: str, server: Server, users: redis.Redis) -> None: ...
