"""Runs the conformance tests on every server and with the oldest and newest redis-py; prints a table.

    python -m tests.support.each_server                # every row but that of `make test`, some at a time
    python -m tests.support.each_server redis-7 oldest # the rows of a server, or of a client

A row that this machine cannot run is listed with what is missing; with CI=true that is a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.support.server_binaries import Missing
from tests.support.servers import SERVERS
from tests.support.site_folder import PipFailed, site_folder

ROOT = Path(__file__).parents[2]
AT_A_TIME = 4  # they wait for most of their time
ROW_SECONDS = 1500  # several times what a row takes: tests have bounds of their own
CONFORMANCE = "tests/conformance"
CLUSTER = f"{CONFORMANCE}/test_cluster_client.py"
FAILOVER = f"{CONFORMANCE}/test_failover.py::test_a_failover_loses_nothing_that_the_replica_had"
# The oldest server, and one of each kind that a client talks to by code of its own: what Redis 7 and 8 answer
# alike, the newest client shows.
WITH_THE_OLDEST = ("redis-6.2", "valkey-9-cluster", "valkey-9-sentinel", "redis-tls")
# Another way to a server that has a row of its own.
OTHER_WAYS = ("valkey-9-sentinel", "redis-tls")
# Files of rows that show a server, or the oldest client, as a whole. A row that differs from one of those in
# its client alone, or in the way to the server, goes without them; a file that is not here runs in each row.
SERVERS_AFFAIR = {
    "what becomes of a message is decided by scripts; test_clients.py has all calls and their replies": (
        "test_cancel.py",
        "test_deduplication.py",
        "test_enqueue.py",
        "test_gateway_lists.py",
        "test_holders.py",
        "test_lanes.py",
        "test_large_messages.py",
        "test_limits.py",
        "test_lost_leases.py",
        "test_queue_beyond_v7.py",
        "test_queue_calls.py",
        "test_queue_facts.py",
        "test_raw_values.py",
        "test_redrive.py",
        "test_repair.py",
    ),
    "what a look finds is gathered from keys; test_clients.py has all looks and their replies": (
        "test_looking.py",
        "test_reasons.py",
        "test_results.py",
        "test_sample.py",
    ),
    "what a call costs is counted in the server": ("test_cost.py", "test_purge.py"),
    "clocks under test are Python's": ("test_frozen_clock.py",),
}
# A distribution has one of them: the other may be missing.
ALTERNATIVES = {"redis-7", "redis-8"}


@dataclass(frozen=True)
class Client:
    """A redis-py: packages to put before the environment's, protocol to ask for (0: its own choice)."""

    name: str
    packages: tuple[str, ...] = ()
    resp: int = 0


@dataclass(frozen=True)
class Row:
    """One run of the tests."""

    server: str
    client: Client

    @property
    def name(self) -> str:
        return f"{self.server} {self.client.name}"

    @property
    def whole(self) -> bool:
        """Whether no other row has this server, or the oldest client, with all tests."""
        if self.client == OLDEST:
            return self.server == WITH_THE_OLDEST[0]
        return self.client == NEWEST and self.server not in OTHER_WAYS

    @property
    def left_out(self) -> list[str]:
        """Tests that would tell nothing new in this row.

        Failovers test Sentinel, one file starts a cluster of its own, and scripts are the server's affair.
        """
        scripts = [f"{CONFORMANCE}/{name}" for names in SERVERS_AFFAIR.values() for name in names]
        needless = {FAILOVER: "sentinel" not in self.server, CLUSTER: self.server != "valkey-9"}
        needless |= dict.fromkeys(scripts, not self.whole)
        return [test for test, left_out in needless.items() if left_out]


@dataclass(frozen=True)
class Result:
    """What a run told. `problem` is the reason why there are no numbers."""

    row: Row
    version: str = ""
    redis_py: str = ""
    resp: str = ""
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""
    output: str = ""


def _oldest() -> str:
    """The lowest version of redis-py that pyproject.toml allows."""
    found = re.search(r'"redis>=([0-9.]+),', (ROOT / "pyproject.toml").read_text("utf-8"))
    if found is None:
        raise RuntimeError("pyproject.toml no longer says redis>=A: adapt tests/support/each_server.py")
    return found[1]


PIN = f"redis=={_oldest()}"
NEWEST, OLDEST = Client("newest"), Client("oldest", (PIN,))
OTHER_CLIENTS = (
    Client("newest, hiredis", ("hiredis",), resp=3),
    Client("newest, RESP2", resp=2),
    Client("oldest, hiredis", (PIN, "hiredis"), resp=3),
)
# What `make test` runs: here only where it is named.
OF_MAKE_TEST = Row("valkey-9", NEWEST)


def rows() -> list[Row]:
    """Each server with the newest redis-py, each kind of server with the oldest; then clients' other ways."""
    return [
        *(Row(server, NEWEST) for server in SERVERS),
        *(Row(server, OLDEST) for server in WITH_THE_OLDEST),
        *(Row("valkey-9", client) for client in OTHER_CLIENTS),
    ]


def chosen(words: list[str]) -> list[Row]:
    """The rows whose name has one of the words; without words all but the one that `make test` runs."""
    if not words:
        return [row for row in rows() if row != OF_MAKE_TEST]
    return [row for row in rows() if any(word in row.name.split(" ", 1) for word in words)]


def run(row: Row) -> Result:
    """Run the tests of one row."""
    began = time.monotonic()
    try:
        environment = {**os.environ, "REDISQUEUE_TEST_SERVER": row.server}
        if row.client.packages:
            environment["PYTHONPATH"] = str(site_folder(*row.client.packages))
        if row.client.resp:
            environment["REDISQUEUE_TEST_RESP"] = str(row.client.resp)
        SERVERS[row.server].find()
    except (Missing, PipFailed) as missing:
        return Result(row, problem=str(missing))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        output = _pytest(environment, report, *(f"--deselect={each}" for each in row.left_out))
        if not report.exists():
            return Result(row, failed=1, output=output)
        return _read(report, row, time.monotonic() - began, output)


def _pytest(environment: dict[str, str], report: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    try:
        done = subprocess.run(
            [*command, CONFORMANCE, *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=ROW_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        told = (late.output or b"").decode()  # bytes, whatever was asked for
        return f"{told}\nFAILED the row: not finished within {ROW_SECONDS} s"
    return done.stdout


def _read(report: Path, row: Row, seconds: float, output: str) -> Result:
    suite = next(ET.parse(report).iter("testsuite"))
    told = {each.get("name"): each.get("value", "") for each in suite.iter("property")}
    total, skipped = int(suite.get("tests", "0")), int(suite.get("skipped", "0"))
    failed = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
    return Result(
        row,
        told.get("server", ""),
        told.get("redis-py", ""),
        told.get("resp", ""),
        total - failed - skipped,
        failed,
        skipped,
        seconds,
        output=output,
    )


def all_is_well(results: list[Result], *, in_ci: bool) -> bool:
    """Every row that ran passed; in CI every row ran, or an alternative to it."""
    ran = {each.row.server for each in results if not each.problem}
    for each in results:
        if each.problem:
            replaced = each.row.server in ALTERNATIVES and ran & ALTERNATIVES
            if in_ci and not replaced:
                return False
        elif each.failed or not each.passed:
            return False
    return True


def table(results: list[Result]) -> str:
    """The results in Markdown."""
    lines = ["| Server | Version | redis-py | RESP | Passed | Failed | Skipped | Seconds |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for each in results:
        hiredis = " + hiredis" if "hiredis" in each.row.client.packages else ""
        client = f"{each.redis_py}{hiredis}" if each.redis_py else each.row.client.name
        cells = [
            each.version,
            client,
            each.resp,
            each.passed,
            each.failed,
            each.skipped,
            f"{each.seconds:.0f}",
        ]
        if each.problem:
            cells = ["-", client, "-", "-", "-", f"missing: {each.problem}", "-"]
        lines.append(f"| {each.row.server} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Run the chosen rows; 1 if one did not pass."""
    these = chosen(words)
    if not these:
        print(f"no such row; there are: {'; '.join(row.name for row in rows())}")
        return 2
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = []
        for result in pool.map(run, these):
            results.append(result)
            told = result.problem or f"{result.passed} passed, {result.failed} failed"
            print(f"{result.row.name}: {told} ({result.seconds:.0f} s)", flush=True)
            if result.failed:
                print(result.output, flush=True)
    print(f"\n{table(results)}")
    return 0 if all_is_well(results, in_ci=os.environ.get("CI") == "true") else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
