"""What errors say: the servers' own texts, as redis-py hands them over."""

from __future__ import annotations

import pytest
import redis
from redis import exceptions

from redis_message_queue.trouble import AWAY, described, first_word, is_elsewhere, is_refusal

QUOTED = "Error running script (call to f_2fe1): @user_script:7: @user_script: 7: -%s"


@pytest.mark.parametrize(
    ("error", "word", "elsewhere", "refusal"),
    [
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "READONLY", True, True),
        (exceptions.ResponseError(QUOTED % "READONLY You can't write."), "READONLY", True, True),
        (exceptions.MasterDownError("Link with MASTER is down"), "MASTERDOWN", True, True),
        (exceptions.BusyLoadingError("Redis is loading"), "LOADING", True, True),
        (exceptions.AuthenticationError("Authentication required."), "NOAUTH", True, False),
        (exceptions.AuthenticationError("invalid username-password pair"), "WRONGPASS", True, False),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas."), "NOREPLICAS", False, True),
        (exceptions.ResponseError(QUOTED % "NOREPLICAS Not enough."), "NOREPLICAS", False, True),
        (exceptions.ResponseError("BUSY Valkey is busy running a script."), "BUSY", False, True),
        (exceptions.ClusterDownError("The cluster is down"), "CLUSTERDOWN", False, True),
        (exceptions.NoPermissionError("No permissions to access a key"), "NOPERM", False, False),
        (
            exceptions.ResponseError("ACL failure in script: No permissions to access a key"),
            "NOPERM",
            False,
            False,
        ),
        (
            exceptions.ResponseError("The user executing the script can't run this command or subcommand"),
            "NOPERM",
            False,
            False,
        ),
        (exceptions.OutOfMemoryError("command not allowed"), "OOM", False, False),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE", False, False),
        (exceptions.ResponseError("wrong number of arguments"), "", False, False),
        (exceptions.ConnectionError("Connection closed by server."), "", False, False),
        (ConnectionRefusedError(111, "READONLY refused"), "", False, False),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_first_word_and_what_it_means(
    error: Exception, word: str, elsewhere: bool, refusal: bool
) -> None:
    assert (first_word(error), is_elsewhere(error), is_refusal(error)) == (word, elsewhere, refusal)
    assert isinstance(error, AWAY)
    assert word in described(error)
    assert str(error) in described(error)


def test_a_mistake_in_a_program_is_no_trouble_of_redis() -> None:
    assert not isinstance(KeyError("a defect"), AWAY)
    assert not is_elsewhere("READONLY")


def test_where_resp3_is_refused_the_way_out_is_named() -> None:
    error = redis.ResponseError("unknown command 'HELLO', with args beginning with: '3'")
    assert "?protocol=2" in described(error)
    assert "?protocol=2" not in described(redis.ResponseError("unknown command 'BLMOVE'"))
