"""The matrix of servers and clients: what it covers, and when it counts as passed."""

from __future__ import annotations

import pytest
from tests.support.each_server import (
    CONFORMANCE,
    NEWEST,
    OF_MAKE_TEST,
    OLDEST,
    ROOT,
    SERVERS_AFFAIR,
    Result,
    all_is_well,
    chosen,
    rows,
    table,
)
from tests.support.server_binaries import redis_with_tls
from tests.support.servers import SERVERS, acl, standalone

FIRST, *REST = [row for row in rows() if row.client.name == "newest"]
BY_SERVER = {row.server: row for row in (FIRST, *REST)}


def passed(server: str) -> Result:
    return Result(BY_SERVER[server], "1.0", "8.0", "3", passed=7, seconds=1.4)


def missing(server: str) -> Result:
    return Result(BY_SERVER[server], problem="a binary")


def test_every_server_meets_the_newest_client_and_every_kind_of_server_the_oldest() -> None:
    met = {(row.server, row.client.name) for row in rows()}
    assert {(server, "newest") for server in SERVERS} <= met
    kinds = {SERVERS[row.server].run for row in rows() if row.client.name == "oldest"}
    assert kinds >= {kind.run for kind in SERVERS.values()} - {acl}, "a login is the server's affair"


def test_only_the_row_that_make_test_runs_waits_to_be_named() -> None:
    assert {*rows()} - {*chosen([])} == {OF_MAKE_TEST}
    assert OF_MAKE_TEST in chosen(["valkey-9"])
    assert SERVERS[OF_MAKE_TEST.server].run is standalone


def test_each_server_and_the_oldest_client_meet_all_tests() -> None:
    """A row leaves out files by name: a new one runs in each row."""
    whole = [row for row in rows() if row.whole]
    assert {SERVERS[row.server].find for row in whole} == {kind.find for kind in SERVERS.values()} - {
        redis_with_tls
    }, "TLS is spoken by a Redis 7 or 8"
    assert {row.client for row in whole} == {NEWEST, OLDEST}
    by_name = {name for names in SERVERS_AFFAIR.values() for name in names}
    assert by_name <= {path.name for path in (ROOT / CONFORMANCE).glob("test_*.py")}
    for row in whole:
        assert not [path for path in row.left_out if path.removeprefix(f"{CONFORMANCE}/") in by_name]


def test_what_a_row_leaves_out_is_there() -> None:
    paths = {path.partition("::")[0] for row in rows() for path in row.left_out}
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("results", "on_a_laptop", "in_ci"),
    [
        ([passed("valkey-9"), passed("redis-7")], True, True),
        ([passed("valkey-9"), missing("redis-6.2")], True, False),
        ([passed("redis-7"), missing("redis-8")], True, True),
        ([missing("redis-7"), missing("redis-8")], True, False),
        ([Result(FIRST, passed=6, failed=1)], False, False),
        ([Result(FIRST, skipped=7)], False, False),
    ],
)
def test_what_counts_as_passed(results: list[Result], on_a_laptop: bool, in_ci: bool) -> None:
    assert all_is_well(results, in_ci=False) is on_a_laptop
    assert all_is_well(results, in_ci=True) is in_ci


def test_the_table_says_what_ran_and_what_is_missing() -> None:
    lines = table([passed("valkey-9"), missing("redis-8")]).splitlines()
    assert lines[2] == "| valkey-9 | 1.0 | 8.0 | 3 | 7 | 0 | 0 | 1 |"
    assert "missing: a binary" in lines[3]
