"""The contract on the worker's page: its sentences are shown by tests, its tables are the code's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.worker_process import KEYS, WorkerProcess, counters, eventually, publish

from redisqueue_worker import commands, shutdown
from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port
from redisqueue_worker.metrics import Metrics
from redisqueue_worker.metrics_page import WorkerCollector
from redisqueue_worker.settings import OPTIONS, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "worker" / "README.md").read_text()
CONTRACT = PAGE.partition("\n## The contract\n")[2].partition("\n## ")[0]

# How a sentence begins, and the test that shows it.
SHOWN_BY = {
    # Outcomes
    "A message whose handler returned": "handling.handles_each_message_once_and_leaves_nothing_behind",
    "With REDISQUEUE_KEEP_COMPLETED": "contract.completed_payloads_are_kept_on_demand",
    "With REDISQUEUE_RESULTS_TTL": "results.it_is_kept_what_the_handler_returned_or_why_it_failed",
    "After `raise Retry(delay)`": "handling.the_handlers_outcome_decides_what_becomes_of_the_message",
    "After `raise DeadLetter(reason)`": "handling.the_handlers_outcome_decides_what_becomes_of_the_message",
    "`Retry(0)` puts it behind": "fairness.a_retry_at_once_goes_behind_those_that_wait",
    "Neither a `Retry` nor a delivery": "lost_messages.crashes_are_no_attempts_of_the_handler",
    "After any other exception": "handling.the_handlers_outcome_decides_what_becomes_of_the_message",
    "Whatever a handler raises": "boundary.whatever_a_handler_raises_costs_its_own_message_alone",
    "A handler that returns a coroutine": "boundary.what_a_handler_returns_shows_whether_its_work_is_done",
    "With REDISQUEUE_MAX_ATTEMPTS=1": "handling.with_one_attempt_a_failure_is_final",
    "A payload that does not fit": "handlers.the_type_chooses_the_handler",
    "A type that no handler is for": "policies.a_type_that_only_a_newer_worker_knows_waits_for_it",
    "Where a handler says its own": "policies.each_handler_has_its_own_attempts",
    "Threads, tasks and processes": (
        "policies.each_handler_has_its_kind_of_slot_and_their_number_is_the_concurrency"
    ),
    "A batch handler gets up to": (
        "batches.a_full_batch_begins_at_once_and_one_that_is_not_when_its_time_is_over"
    ),
    "A call for a batch that raises": "batches.a_poisoned_message_takes_no_other_down",
    "Each dead letter leaves a record": "contract.a_dead_letter_tells_why",
    "An async handler that overruns": "handling.an_async_handler_that_overruns_is_cancelled",
    "A thread cannot be stopped": "ending.what_cannot_be_stopped_is_not_handled_twice_at_once",
    "A process slot is killed": "children.a_slot_that_is_killed_takes_along_what_its_handler_started",
    "`redisqueue-worker stacks` tells": "stacks.the_stack_of_each_handler_is_told",
    "When somebody [cancels]": "cancel.a_running_handler_ends_and_its_message_does_not_come_again",
    "A thread that returns without having looked": "cancel.a_thread_that_never_looked_has_done_its_work",
    "A handler that ends its process slot": (
        "processes.a_handler_that_ends_its_process_has_failed_and_is_tried_again"
    ),
    "What a handler forks": "children.a_forked_child_ends_by_the_signals_that_stop_the_worker",
    "A forked child that comes back": (
        "company.a_forked_child_that_comes_back_out_of_its_handler_ends_and_settles_nothing"
    ),
    "An async handler that cancels or awaits": (
        "company.a_handler_that_means_all_tasks_of_its_loop_means_its_own"
    ),
    "No process slot outlives": "children.nothing_that_a_handler_started_outlives_a_killed_worker",
    "The lease is renewed": "failures.the_lease_is_kept_for_as_long_as_the_handler_runs",
    "A message whose worker died": "failures.after_sigkill_only_the_unfinished_message_is_handled_again",
    "Where its end is certain": (
        "deaths.a_worker_that_starts_in_the_place_of_a_dead_one_gives_back_its_messages"
    ),
    "A worker that is only silent": "deaths.a_worker_that_is_stopped_keeps_its_messages",
    "It is then handled beside others of its kind": (
        "lost_messages.a_message_that_kills_its_worker_takes_no_neighbour_along"
    ),
    "After REDISQUEUE_MAX_DELIVERY": "faults.a_handler_that_exits_the_worker_costs_a_delivery_each_time",
    # Claims
    "Messages are claimed for free slots only": "handling.claims_for_free_slots_only",
    "Of the places for which others wait": (
        "fairness.retries_that_are_due_all_the_time_take_every_other_place_at_most"
    ),
    "A worker without `--burst` never leaves": "failures.redis_away_and_back",
    "A server or proxy without CLIENT and HELLO": "away.a_worker_needs_no_name_and_no_resp3",
    "A server that is not the master any more": "away.a_worker_goes_on_with_the_new_master_behind_the_name",
    "It also starts without Redis": "failures.a_worker_starts_without_redis_and_works_when_it_comes",
    "A result that Redis refuses": "refusals.one_result_that_is_refused_for_good_holds_up_no_other",
    "A request to Redis": "refusals.requests_that_a_proxy_finds_too_large",
    "A worker that the operator retires": "failures.a_retired_worker_claims_nothing",
    "With `--burst`": "burst.retries_that_are_soon_due_are_waited_for",
    "What waits for a limit": "burst.what_waits_for_a_rate_is_waited_for",
    "When no message came to an end": "burst.without_redis_it_gives_up",
    "With REDISQUEUE_MAX_MESSAGES": "handling.starts_afresh_after_max_messages",
    "Before that, functions": "ending.a_fresh_start_finds_everything_as_the_first_one_did",
    "A memory limit that is": "ending.a_memory_limit_below_the_idle_size_is_warned_of_and_no_endless_loop",
    "Meanwhile probes wait": "recycle.no_probe_is_refused_while_the_process_is_replaced",
    "Process slots are replaced": "processes.a_worn_process_is_replaced_and_the_worker_stays",
    # Failures in a row
    "After REDISQUEUE_CIRCUIT_BREAKER_FAILURES": "breaker.a_worker_that_only_fails_stops_claiming",
    "What has failed before waits": "breaker.a_worker_that_only_fails_stops_claiming",
    "A message that fails for the first time": (
        "fairness.a_good_message_is_reached_behind_a_hundred_that_fail"
    ),
    "Whatever else it had in hand": "breaker.what_was_in_hand_goes_back_uncounted",
    "`Retry`, `DeadLetter` and a payload": "breaker.what_a_handler_asks_for_is_no_failure",
    "What is tried": "breaker.a_message_that_always_fails_does_not_stop_the_others",
    "The breaker is in the log": "breaker.a_worker_that_only_fails_stops_claiming",
    "A worker that runs with": "breaker.a_version_counts_its_outcomes",
    # Signals and commands
    "SIGTERM or SIGINT begins": "drain.sigterm_lets_the_handler_finish_and_claims_no_more",
    "An idle worker leaves": "drain.an_idle_worker_stops_at_once",
    "What still runs after": "drain.at_the_deadline_the_message_returns_to_the_front_uncounted",
    "With REDISQUEUE_ON_DRAIN_TIMEOUT=LeaveLease": "drain.the_lease_is_left_if_that_is_wished",
    "A second signal": "drain.a_second_signal_releases_and_leaves_at_once",
    "Results that Redis does not take": "faults.results_that_redis_never_hears_of_do_not_hold_up_the_pod",
    "For results that Redis refuses": "refusals.a_drain_does_not_wait_for_what_is_refused",
    "As process 1 of a container": (
        "children.process_1_reaps_orphans_and_leaves_handlers_the_exit_codes_of_their_own"
    ),
    "SIGKILL at any moment": "faults.sigkill_at_any_moment_loses_nothing",
    "`redisqueue-worker drain` makes": "drain.drain_never_fails_a_pre_stop_hook",
    "The drained worker stays": "drain.drain_by_command_waits_stays_and_can_be_taken_back",
    "`redisqueue-worker check`": "failures.check_says_what_is_wrong",
    "Start-up hooks run": "handlers.hooks_run_once_before_the_first_message_and_after_the_last",
    "Each message is handled in a context": (
        "boundary.each_message_has_the_context_of_the_start_and_leaves_nothing_in_it"
    ),
    # Ports
    "`/readyz` is 200": "failures.probes_and_metrics",
    "`/livez` stays 200": "failures.probes_and_metrics",
    "It is 503 when Redis": "outbox.it_is_hopeless_only_when_nothing_was_taken_for_long",
    "It is 503 when a loop": "health.a_loop_is_stalled_after_fifteen_seconds_without_a_beat",
    "No probe asks Redis": "contract.without_redis_the_probes_are_content",
    "Everything is on one port": "contract.the_port_is_where_it_was_asked_for",
    "Of process slots that is the sum": "slot_metrics.metrics_of_all_slots_are_added_up_on_the_page",
    "`/metrics` also has": "contract.the_port_is_where_it_was_asked_for",
    # Files and logs
    "The control socket is": "contract.the_socket_is_for_the_workers_user_alone",
    "Beside it the file": "deaths.a_worker_that_starts_in_the_place_of_a_dead_one_gives_back_its_messages",
    "The termination log": "last_words.who_runs_stands_in_the_termination_log",
    "Handlers are imported from": "contract.handlers_come_from_their_path",
    "Credentials from files": "contract.a_rotated_password_needs_no_restart",
    "Logs are JSON lines": "contract.every_line_on_stderr_is_json",
    "Whatever a handler logs": "boundary.a_log_call_never_fails_its_message",
    "A handler's module may": "takeovers.what_a_module_takes_at_its_import_is_set_again",
    "No payload is logged": "handling.a_payload_of_the_wrong_type_is_a_dead_letter_and_never_logged",
}


def sentences() -> list[str]:
    return [" ".join(found.split()) for found in re.findall(r"^- (.*(?:\n  .*)*)", CONTRACT, re.MULTILINE)]


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its own two lines."""
    section = CONTRACT.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


# ---- the page --------------------------------------------------------------------------


def test_each_sentence_is_shown_by_a_test() -> None:
    shown = {start: [one for one in sentences() if one.startswith(start)] for start in SHOWN_BY}
    assert [start for start, found in shown.items() if len(found) != 1] == [], "on the page once each"
    assert set(sentences()) == {found[0] for found in shown.values()}, "and no other"


def test_the_tests_that_show_it_are_there() -> None:
    for reference in SHOWN_BY.values():
        file, name = reference.split(".")
        pages = [
            *ROOT.glob(f"tests/*/test_worker_{file}.py"),
            *ROOT.glob(f"tests/unit/worker/test_{file}.py"),
        ]
        assert any(f"def test_{name}(" in page.read_text() for page in pages), reference


def default(option: Option) -> str:
    match option.default:
        case None | "" | ():
            return ""
        case bool():
            return f"`{str(option.default).lower()}`"
        case float():
            return f"`{option.default:g}`"
    return f"`{option.default}`"


def test_the_variables_are_those_of_the_code() -> None:
    assert rows("Environment") == [[f"`{one.variable}`", default(one), one.help] for one in OPTIONS]


def test_the_metrics_are_those_of_the_code() -> None:
    ours = {
        one.name + ("_total" if one.type == "counter" else ""): (one.type, one.documentation)
        for one in WorkerCollector(Metrics()).collect()
    }
    page = {name.split("`")[1]: (kind, text) for name, kind, text in rows("Metrics")}
    assert page == ours


def test_the_exit_codes_are_those_of_the_code() -> None:
    ours = {
        value
        for module in (shutdown, commands)
        for name, value in vars(module).items()
        if name.startswith("EXIT_")
    }
    assert {int(code) for code, _ in rows("Exit codes")} == ours


def test_the_first_example_does_what_it_looks_like(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    tasks, producer = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[:2]
    (tmp_path / "tasks.py").write_text(tasks)
    exec(producer.replace("redis.Redis()", f"redis.Redis.from_url({redis_url!r})"), {})
    worker = WorkerProcess(tmp_path, redis_url, "x", log_format="text")
    worker.settings["handler"] = "tasks:handle"
    worker.start()
    try:
        eventually(lambda: "info    order 7 message_id=" in worker.log_file.read_text(), "order 7")
        eventually(lambda: counters(redis_client).processing == 0, "it is done")
    finally:
        worker.__exit__()


# ---- sentences that no other test shows ------------------------------------------------


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return answer.status, answer.read().decode()


def test_completed_payloads_are_kept_on_demand(
    tmp_path: Path, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, *"abc")
    with WorkerProcess(tmp_path, redis_url, "outcome", keep_completed=2):
        eventually(lambda: redis_client.lrange(KEYS.completed, 0, -1) == [b"c", b"b"], "the last two")


def test_a_dead_letter_tells_why(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, "boom")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=2) as worker:
        eventually(lambda: redis_client.llen(KEYS.dead_letter_info) == 1, "one record")
        line = worker.logged("not handled")
    (record,) = map(json.loads, redis_client.lrange(KEYS.dead_letter_info, 0, -1))
    assert record.keys() == {"id", "digest", "reason", "detail", "deliveries", "worker", "at"}
    assert record["id"] == line["message_id"]
    assert record["digest"] == hashlib.sha1(b"boom").hexdigest()
    first, frame, *_, last = record["detail"].splitlines()
    assert first == "Traceback (most recent call last):"
    assert re.fullmatch(r'  File ".*/test_handlers.py", line \d+, in outcome', frame)
    assert last == "RuntimeError: boom happened"
    assert (record["deliveries"], record["worker"]) == (2, "worker-1")
    seconds, _ = redis_client.time()
    assert record["at"] / 1000 == pytest.approx(seconds, abs=60)


def test_a_burst_ends_when_nothing_is_left(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, *"abcde")
    with WorkerProcess(tmp_path, redis_url, "outcome", burst=True, concurrency=2) as worker:
        assert worker.wait() == 0
    assert sorted(worker.noted("finished")) == ["a 1", "b 1", "c 1", "d 1", "e 1"]
    after = counters(redis_client)
    assert (after.pending, after.processing, after.workers) == (0, 0, ())


def test_without_redis_the_probes_are_content(tmp_path: Path) -> None:
    port = free_port()
    with WorkerProcess(tmp_path, "redis://127.0.0.1:1", "gated", http_port=port) as worker:
        worker.logged("Redis does not answer, trying again")
        assert get(f"http://127.0.0.1:{port}/readyz") == (200, "ok\n")
        assert get(f"http://127.0.0.1:{port}/livez") == (200, "ok\n")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0


def test_the_port_is_where_it_was_asked_for(tmp_path: Path, redis_url: str) -> None:
    worker = WorkerProcess(tmp_path, redis_url, "x", http_host="127.0.0.2", http_port=(port := free_port()))
    worker.settings["handler"] = "counting:handle"
    code = (
        "from prometheus_client import Counter\nmine = Counter('mine', 'Mine.')\ndef handle(payload): ...\n"
    )
    (tmp_path / "counting.py").write_text(code)
    with worker:
        assert "mine_total 0.0" in get(f"http://127.0.0.2:{port}/metrics")[1].splitlines()
        with pytest.raises(OSError, match="refused"):
            get(f"http://127.0.0.1:{port}/metrics")


def test_the_socket_is_for_the_workers_user_alone(tmp_path: Path, redis_url: str) -> None:
    with WorkerProcess(tmp_path, redis_url, "gated") as worker:
        mode = os.stat(tmp_path / "worker-1" / "worker.sock").st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert not (tmp_path / "worker-1" / "worker.sock").exists()


def test_handlers_come_from_their_path(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    (tmp_path / "elsewhere").mkdir()
    code = "import test_handlers as t\ndef handle(payload): t.note('finished', payload)\n"
    (tmp_path / "elsewhere" / "tasks.py").write_text(code)
    publish(redis_client, "a")
    worker = WorkerProcess(tmp_path, redis_url, "x", handler_path=tmp_path / "elsewhere")
    worker.settings["handler"] = "tasks:handle"
    with worker:
        assert worker.until_noted("finished", 1) == ["a"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(arguments=("--user", "app", "on", ">first", "~*", "&*", "+@all")) as server:
        yield server


def test_a_rotated_password_needs_no_restart(tmp_path: Path, guarded: EmbeddedRedis) -> None:
    username, password = tmp_path / "username", tmp_path / "password"
    username.write_text("app")
    password.write_text("first")
    files = {"redis_username_file": username, "redis_password_file": password}
    with (
        redis.Redis.from_url(guarded.url) as admin,
        WorkerProcess(tmp_path, guarded.url, "outcome", **files) as worker,
    ):
        publish(admin, "a")
        worker.until_noted("finished", 1)
        password.write_text("second")
        admin.acl_setuser("app", enabled=True, passwords=["+second", "-first"])
        admin.execute_command("CLIENT", "KILL", "USER", "app")
        publish(admin, "b")
        assert worker.until_noted("finished", 2) == ["a 1", "b 1"]
        assert worker.running


def test_every_line_on_stderr_is_json(tmp_path: Path, redis_url: str, redis_client: redis.Redis) -> None:
    publish(redis_client, "boom", "dead")
    with WorkerProcess(tmp_path, redis_url, "outcome", max_attempts=2, concurrenzy=1) as worker:
        eventually(lambda: counters(redis_client).dead_letter == 2, "two dead letters")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    lines = [json.loads(line) for line in worker.log_file.read_text().splitlines()]
    assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)
    assert lines[0]["reason"] == "REDISQUEUE_CONCURRENZY is no setting; did you mean REDISQUEUE_CONCURRENCY?"
    told = [line for line in lines if line["message"] == "not handled"]
    assert [(line["outcome"], "message_id" in line) for line in told] == [
        ("retry", True),
        ("dead", True),
        ("dead", True),
    ]
