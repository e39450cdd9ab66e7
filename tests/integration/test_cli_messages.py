"""`redisqueue enqueue`, `show`, `dlq`: what they print for a person, for a program, and their exit codes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest
from tests.support.readmes import ROOT

from redis_message_queue import RedisMessageQueue, results
from redis_message_queue.cancelling import Cancellation
from redis_message_queue.consumer import Consumer, Outcome, Settlement, WorkerIdentity
from redis_message_queue.keys import QueueKeys
from redis_message_queue.looking import State
from redis_message_queue.results import ResultState
from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands.queues.stats import STATS_SHAPE, WORKER_SHAPE

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Run = Callable[..., tuple[int, str, str]]

KEYS = QueueKeys("jobs")
LETTER = {"payload", "message_id", "reason", "deliveries", "at", "worker", "traceback"}
LOCATION = LETTER - {"payload"} | {"state", "position", "due", "lease_end"}


@pytest.fixture
def run(redis_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on the server of the test: exit code, output, errors."""

    def run_it(*words: str) -> tuple[int, str, str]:
        try:
            code = main([*words, "--redis-url", redis_url])
        except SystemExit as refused:
            code = int(str(refused.code))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run_it


@pytest.fixture
def ask(run: Run) -> Callable[..., tuple[int, Any]]:
    """The same with --json: exit code and value."""

    def ask_it(*words: str) -> tuple[int, Any]:
        code, out, _ = run(*words, "--json")
        return code, json.loads(out)

    return ask_it


@pytest.fixture
def dead(redis_client: redis.Redis) -> Callable[..., None]:
    """Enqueue messages with these ids and payloads and give them up, or fail them."""

    def give_up(*messages: tuple[str, str | bytes], outcome: Outcome = Outcome.DEAD) -> None:
        consumer = Consumer(redis_client, "jobs", keep_failed=100, worker=WorkerIdentity("w", 1))
        for one, payload in messages:
            RedisMessageQueue("jobs", client=redis_client).enqueue(payload, message_id=one)
            (claim,) = consumer.claim(1).claims
            consumer.settle([Settlement(claim, outcome, reason="Boom", detail="Traceback\nBoom: no")])

    return give_up


# -- enqueue --


def test_enqueue_tells_the_id_of_each(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    assert run("enqueue", "jobs", "a", "--id", "one") == (0, "enqueued one\n", "")
    code, first = ask("enqueue", "jobs", "b", "--deduplication-key", "k", "--deduplication-seconds", "60")
    assert (code, first["enqueued"], first["first_id"]) == (0, True, None)
    code, second = ask("enqueue", "jobs", "c", "--deduplication-key", "k")
    assert (code, second["enqueued"], second["first_id"]) == (3, False, first["message_id"])
    assert set(first) == set(second) == {"message_id", "enqueued", "first_id"}
    code, out, _ = run("enqueue", "jobs", "c", "--deduplication-key", "k")
    assert (code, out) == (3, f"duplicate of {first['message_id']}\n")
    assert redis_client.llen(KEYS.pending) == 2
    assert 50 < redis_client.ttl(KEYS.deduplication("k")) <= 60


def test_enqueue_reads_lines(run: Run, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\nb\n"))
    code, out, _ = run("enqueue", "jobs", "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["enqueued"] for one in told]) == (0, [True, True])
    assert redis_client.llen(KEYS.pending) == 2


def test_enqueue_says_where_and_when(run: Run, ask: Any) -> None:
    run("enqueue", "jobs", "a", "--id", "a")
    run("enqueue", "jobs", "b", "--id", "b", "--front")
    year = datetime.now(UTC).year + 5
    run("enqueue", "jobs", "c", "--id", "c", "--at", f"{year}-01-31T08:00+01:00")
    run("enqueue", "jobs", "--delay", "60", "--id", "d", "d")
    assert ask("show", "jobs", "b")[1]["position"] == 0
    assert ask("show", "jobs", "c")[1]["due"] == f"{year}-01-31T07:00:00.000+00:00"
    assert ask("show", "jobs", "d")[1]["state"] == "delayed"


def test_enqueue_takes_a_priority_and_a_limit_key(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    run("enqueue", "jobs", "a", "--priority", "low")
    run("enqueue", "jobs", "b", "--id", "b", "--limit-key", "tenant-7", "--priority", "high")
    assert ask("show", "jobs", "b")[1]["state"] == "pending"
    claims = Consumer(redis_client, "jobs").claim(2).claims
    assert [claim.payload for claim in claims] == [b"b", b"a"]


TOO_LONG = str(11 * 365 * 24 * 3600)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["enqueue", "jobs", "a", "--limit-key", ""], "--limit-key must be a non-empty string"),
        (["enqueue", "jobs", "a", "--limit-key", "x" * 201], "got 201: pass an id or a digest"),
        (["enqueue", "jobs", "a", "--at", "soon"], "argument --at: 'soon' is no time in ISO 8601, as 2026-"),
        (
            ["enqueue", "jobs", "a", "--at", "2040-01-31T08:00"],
            "argument --at: '2040-01-31T08:00' has no offset",
        ),
        (["enqueue", "jobs", "a", "--at", "9999-01-31T08:00Z"], "--at must be at most ten years from now"),
        (["enqueue", "jobs", "a", "--delay", TOO_LONG], "--delay must not be above"),
        (["enqueue", "jobs", "a", "--delay", "5", "--front"], "--delay cannot be combined with --front"),
        (["enqueue", "jobs", "a", "--id", "a b"], "--id must be 1 to 128 visible ASCII characters"),
        (["enqueue", "jobs", "a", "--id", ""], "--id must be"),
        (["enqueue", "jobs", "a", "b", "--id", "x"], "--id: it is for one message"),
        (["enqueue", "jobs", "a", "--deduplication-key", ""], "--deduplication-key must be a non-empty"),
        (["enqueue", "jobs", "a", "b", "--deduplication-key", "x"], "--deduplication-key: it is for one"),
        (["enqueue", "jobs", "a", "--deduplication-seconds", "5"], "by: pass --deduplication-key"),
        (["enqueue", " ", "a"], "QUEUE must be a non-empty string"),
        (["enqueue", "a::b", "a"], "rename the queue or pass another --key-separator"),
        (["enqueue", "jobs", "a", "--key-separator", " "], "--key-separator must be a non-empty string"),
        (["publish", "jobs", "a", "--deduplication-key", ""], "--deduplication-key: it is empty"),
        (
            ["publish", "jobs", "a", "--deduplicate", "--deduplication-seconds", TOO_LONG],
            "--deduplication-seconds must not be above",
        ),
        (["repair", "rq", "--grace", TOO_LONG], "--grace must not be above"),
        (["show", "rq", ""], "ID must be a non-empty string"),
        (["result", "rq", ""], "ID must be"),
        (["cancel", "rq", ""], "ID must be"),
    ],
)
def test_a_value_that_cannot_be_is_wrong_usage_of_its_option(
    run: Run, redis_client: redis.Redis, words: list[str], said: str
) -> None:
    RedisMessageQueue("rq", client=redis_client).enqueue("a")
    before = redis_client.dbsize()
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert redis_client.dbsize() == before


NO_UTF8 = "\udcff"  # how Python hands over the byte


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["enqueue", "jobs", "fine", f"x{NO_UTF8}"], "argument messages, number 2: its character 2"),
        (["publish", "jobs", NO_UTF8], "argument messages, number 1: its character 1"),
        (["enqueue", "jobs", "x", "--deduplication-key", NO_UTF8], "argument deduplication-key: its"),
        (["publish", "jobs", "x", "--deduplication-key", NO_UTF8], "argument deduplication-key: its"),
        (["enqueue", NO_UTF8, "x"], "argument queue: its"),
        (["show", "jobs", NO_UTF8], "argument id: its"),
        (["dlq", "delete", "jobs", "x", NO_UTF8], "argument ids, number 2: its"),
    ],
)
def test_an_argument_that_is_no_utf8_is_named(
    run: Run, redis_client: redis.Redis, words: list[str], place: str
) -> None:
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"redisqueue: {place}")
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize("command", ["enqueue", "publish"])
def test_a_line_that_is_no_utf8_is_named_and_those_before_it_are_sent(
    run: Run, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n\nb\n\xc3\xa4\xff\nc\n"), "utf-8"))
    code, _, err = run(command, "jobs")
    assert code == 1
    assert err == (
        "redisqueue: line 4 of standard input (those before it are in the queue):"
        " its character 2 is no UTF-8; see iconv -t UTF-8\n"
    )
    assert redis_client.llen(KEYS.pending) == 2


# -- show --


def test_an_empty_payload_is_no_unknown_one(ask: Any, dead: Callable[..., None]) -> None:
    dead(("a", ""), ("b", b"\xff"))
    told = {one["message_id"]: one for one in ask("dlq", "list", "jobs")[1]}
    assert (told["a"]["payload"], told["b"]["payload"], told["b"]["payload_hex"]) == ("", None, "ff")


def test_show_says_where_a_message_is(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    run("enqueue", "jobs", "a", "--id", "a")
    code, told = ask("show", "jobs", "a")
    assert (code, told["state"], told["position"], told["worker"]) == (0, "pending", 0, None)
    assert set(told) == LOCATION
    assert run("show", "jobs", "a") == (0, "a: pending\n  position: 0\n", "")
    Consumer(redis_client, "jobs", worker=WorkerIdentity("w", 1, instance="i")).claim(1)
    code, told = ask("show", "jobs", "a")
    assert (code, told["state"], told["worker"], told["deliveries"]) == (0, "in_flight", "w", 1)
    assert datetime.fromisoformat(told["lease_end"]).utcoffset() == timedelta(0)
    assert run("show", "jobs", "a")[1].startswith("a: in flight\n  lease end: ")
    assert run("show", "jobs", "b") == (3, "b: unknown\n", "")
    code, told = ask("show", "jobs", "b")
    assert (code, told["state"]) == (3, "unknown")
    code, _, err = run("show", "jbos", "a")
    assert code == 1
    assert "did you mean jobs?" in err


# -- dlq --


@pytest.mark.parametrize("failed", [False, True])
def test_letters_are_listed_and_shown(run: Run, ask: Any, dead: Any, failed: bool) -> None:
    where = ["--failed"] if failed else []
    outcome = Outcome.FAILED if failed else Outcome.DEAD
    dead(("a", "x" * 100), ("b", b"\xff\x00"), outcome=outcome)
    code, told = ask("dlq", "list", "jobs", *where)
    assert code == 0
    assert [one["message_id"] for one in told] == ["b", "a"]
    assert set(told[1]) == LETTER
    assert (told[0]["payload"], told[0]["payload_hex"]) == (None, "ff00")
    assert (told[1]["payload"], told[1]["reason"], told[1]["worker"]) == ("x" * 100, "Boom", "w")
    assert [one["message_id"] for one in ask("dlq", "list", "jobs", "--count", "1", *where)[1]] == ["b"]
    lines = run("dlq", "list", "jobs", *where)[1].splitlines()
    assert lines[0].split() == ["AT", "ID", "REASON", "DELIVERIES", "PAYLOAD"]
    assert lines[2].endswith("xxx…")
    code, one = ask("dlq", "show", "jobs", "a", *where)
    assert (code, one) == (0, told[1])
    assert "traceback: Traceback\nBoom: no\n" in run("dlq", "show", "jobs", "a", *where)[1]
    code, out, err = run("dlq", "show", "jobs", "nowhere", *where)
    assert (code, out) == (3, "")
    assert f"no {'failed message' if failed else 'dead letter'} is recorded as nowhere" in err


def test_an_empty_list_is_no_mistake(run: Run, ask: Any) -> None:
    run("enqueue", "jobs", "a")
    assert ask("dlq", "list", "jobs") == (0, [])
    assert run("dlq", "list", "jobs") == (0, "no dead letters\n", "")


def test_letters_of_others_are_listed_by_their_payload(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, "old")
    assert ask("dlq", "list", "jobs")[1] == [{**dict.fromkeys(LETTER), "payload": "old"}]
    assert run("dlq", "list", "jobs")[1].split()[-5:] == ["-", "-", "-", "-", "old"]


def test_one_letter_is_redriven_and_its_like_stays(ask: Any, dead: Any, redis_client: redis.Redis) -> None:
    dead(("a", "same"), ("b", "same"), ("c", b"\xff"))
    code, told = ask("dlq", "redrive", "jobs", "a", "c", "nowhere")
    assert (code, set(told["redriven"]), told["missing"]) == (3, {"a", "c"}, ["nowhere"])
    assert [one["message_id"] for one in ask("dlq", "list", "jobs")[1]] == ["b"]
    for old, new in told["redriven"].items():
        assert ask("show", "jobs", new)[1]["state"] == "pending"
        assert ask("show", "jobs", old) == (
            3,
            {**dict.fromkeys(LOCATION), "message_id": old, "state": "unknown"},
        )
    payloads = {claim.payload for claim in Consumer(redis_client, "jobs").claim(5).claims}
    assert payloads == {b"same", b"\xff"}


def test_letters_are_deleted_for_good(run: Run, ask: Any, dead: Any, redis_client: redis.Redis) -> None:
    dead(*[(f"m{number}", f"p{number % 7}") for number in range(150)])
    ids = [f"m{number}" for number in range(150) if number != 70]
    code, told = ask("dlq", "delete", "jobs", *ids)
    assert (code, told) == (0, {"deleted": sorted(ids), "missing": []})
    assert [one["message_id"] for one in ask("dlq", "list", "jobs")[1]] == ["m70"]
    assert redis_client.llen(KEYS.dead_letter_info) == 1
    assert run("dlq", "delete", "jobs", "m70") == (0, "m70 is deleted\n", "")
    assert run("dlq", "delete", "jobs", "m70")[0] == 3
    assert not redis_client.exists(KEYS.dead_letter, KEYS.pending)


# -- result --


def test_a_result_is_told_or_waited_for(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    consumer = Consumer(redis_client, "jobs", results_ttl_seconds=60)
    for one in ("good", "bad", "odd"):
        queue.enqueue(one, message_id=one)
    assert run("result", "jobs", "good", "--timeout-seconds", "0.05") == (3, "", "good: nothing is known\n")
    assert ask("result", "jobs", "good") == (3, None)
    good, bad, odd = consumer.claim(3).claims
    consumer.settle(
        [
            Settlement(good, Outcome.DONE, result=results.completed({"sum": "ü", "half": "\ud83d"})),
            Settlement(bad, Outcome.DEAD, result=results.ended("failed", "Boom\x1b[2J")),
            Settlement(odd, Outcome.DONE, result=results.completed(b"x")),
        ]
    )
    assert run("result", "jobs", "good", "--timeout-seconds", "30") == (
        0,
        '{"half": "\\ud83d", "sum": "ü"}\n',
        "",
    )
    value = {"sum": "ü", "half": "\ud83d"}
    assert ask("result", "jobs", "good") == (0, {"state": "completed", "value": value, "reason": None})
    assert run("result", "jobs", "bad") == (4, "", "bad: failed: Boom\\x1b[2J\n")
    assert ask("result", "jobs", "bad") == (4, {"state": "failed", "value": None, "reason": "Boom\x1b[2J"})
    code, out, err = run("result", "jobs", "odd")
    assert (code, out) == (0, "null\n")
    assert err.startswith("odd: completed: the value that the handler returned is not kept: bytes cannot")
    assert run("result", "jobs", "good", "--timeout-seconds", "nan")[0] == 2


# -- cancel --


def test_a_message_is_cancelled(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    queue = RedisMessageQueue("jobs", client=redis_client)
    for one in ("a", "b", "c"):
        queue.enqueue(one, message_id=one)
    Consumer(redis_client, "jobs").claim(1)
    assert run("cancel", "jobs", "a") == (0, "a: requested, it is in hand and does not come again\n", "")
    assert run("cancel", "jobs", "b") == (0, "b: removed, it is never started\n", "")
    assert ask("cancel", "jobs", "c") == (0, {"message_id": "c", "cancelled": "removed"})
    assert ask("cancel", "jobs", "nowhere") == (3, {"message_id": "nowhere", "cancelled": "unknown"})
    assert run("result", "jobs", "b") == (4, "", "b: cancelled: cancelled before it was started\n")


def test_a_purge_asks_first(run: Run, ask: Any, dead: Any, redis_client: redis.Redis) -> None:
    dead(("a", "x"), ("b", "y"))
    code, _, err = run("dlq", "purge", "jobs")
    assert code == 1
    assert "--yes: it would remove 2 dead letters for good" in err
    assert redis_client.llen(KEYS.dead_letter) == 2
    assert ask("dlq", "purge", "jobs", "--yes") == (0, {"purged": 2})
    assert run("dlq", "purge", "jobs", "--yes", "--failed") == (0, "0 failed messages are removed\n", "")


def test_stats_are_the_numbers_of_each_queue(
    run: Run, ask: Any, dead: Any, redis_client: redis.Redis
) -> None:
    dead(("one", "a"), ("two", "b"))
    RedisMessageQueue("jobs", client=redis_client).enqueue("c", delay_seconds=60)
    RedisMessageQueue("mails", client=redis_client).enqueue("d")
    code, (jobs, mails) = ask("stats", "jobs", "mails")
    assert code == 0
    assert (list(jobs), list(mails)) == ([*STATS_SHAPE],) * 2
    assert (jobs["queue"], jobs["dead_letter"], jobs["delayed"], jobs["pending"]) == ("jobs", 2, 1, 0)
    assert 50 < jobs["next_due_seconds"] <= 60
    assert jobs["claims_total"] == 2
    assert (mails["pending"], mails["claims_total"], mails["next_due_seconds"]) == (1, None, None)
    every = ask("stats")[1]
    assert sorted(one["queue"] for one in every) == ["jobs", "mails"]
    header, row = run("stats", "mails")[1].splitlines()
    assert (header.split()[:3], row.split()[:3]) == (["QUEUE", "PENDING", "DELAYED"], ["mails", "1", "0"])


def test_stats_of_no_queue_are_an_empty_list_and_of_an_unknown_one_a_mistake(run: Run, ask: Any) -> None:
    assert ask("stats") == (0, [])
    code, _, told = run("stats", "nowhere")
    assert (code, "nowhere" in told) == (1, True)


def test_workers_are_told_as_they_told_of_themselves(run: Run, ask: Any, redis_client: redis.Redis) -> None:
    for number in range(3):
        RedisMessageQueue("jobs", client=redis_client).enqueue(number)
    assert ask("workers", "jobs") == (0, [])
    assert run("workers", "jobs")[1] == "no worker was heard of in the last minute\n"
    idle = Consumer(redis_client, "jobs", worker=WorkerIdentity("idle", 4))
    busy = Consumer(
        redis_client, "jobs", worker=WorkerIdentity("busy", 2, pod_uid="uid-1", config_hash="abc")
    )
    busy.claim(2)
    busy.report(busy=2, oldest_start_age_seconds=5, draining=True)
    idle.report(busy=0, oldest_start_age_seconds=None, draining=False)
    code, (first, second) = ask("workers", "jobs")
    assert code == 0
    assert [*first] == [*WORKER_SHAPE]
    assert (first["worker"], first["busy"], first["slots"], first["draining"]) == ("busy", 2, 2, True)
    assert (first["pod_uid"], first["config_hash"], second["pod_uid"]) == ("uid-1", "abc", None)
    assert first["oldest_seconds"] >= 5
    assert (second["busy"], second["oldest_seconds"], second["tripped"]) == (0, None, False)
    heard = datetime.fromisoformat(first["heard"])
    assert abs((datetime.now(UTC) - heard).total_seconds()) < 60
    lines = run("workers", "jobs")[1].splitlines()
    assert lines[0].split()[:4] == ["WORKER", "SLOTS", "BUSY", "OLDEST"]
    assert lines[1].split()[0] == "busy"


def test_wrong_usage_and_a_shell(redis_url: str, run: Run) -> None:
    assert run("dlq", "jobs")[0] == 2
    assert run("dlq", "redrive", "jobs")[0] == 2
    command = [
        sys.executable,
        "-m",
        "redisqueue_operator.cli",
        "enqueue",
        "jobs",
        "-",
        "--redis-url",
        redis_url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("enqueued ")


def test_the_page_names_all_that_is_printed() -> None:
    page = (ROOT / "operator" / "docs" / "command-line.md").read_text().split("\n## For scripts\n")[1]
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    named = {command: set(re.findall(r"`(\w+)`", row.split(" | ", 1)[1])) for command, row in rows.items()}
    assert named["stats [QUEUE …]"] == {*STATS_SHAPE, "problem"}
    assert named["workers QUEUE"] == set(WORKER_SHAPE)
    assert named["show QUEUE ID"] == LOCATION | set(get_args(State))
    assert named["result QUEUE ID"] == {"state", "value", "reason"} | set(get_args(ResultState))
    assert named["cancel QUEUE ID"] == {"message_id", "cancelled"} | set(get_args(Cancellation))
    assert named["dlq list QUEUE"] == LETTER | {"payload_hex"}
    assert named["enqueue QUEUE [MESSAGE …]"] == {"message_id", "enqueued", "first_id"}
    assert named["dlq redrive QUEUE ID …"] == {"redriven", "missing"}
    assert named["dlq delete QUEUE ID …"] == {"deleted", "missing"}
    assert named["dlq purge QUEUE --yes"] == {"purged"}
