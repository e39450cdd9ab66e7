"""Settings from flags and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from redisqueue_worker.settings import OPTIONS, SettingsError, read_settings, unknown_variables

LEAST = {
    "REDISQUEUE_HANDLER": "tasks:handle",
    "REDISQUEUE_QUEUE": "jobs",
    "REDISQUEUE_REDIS_URL": "redis://localhost",
}


def problems(environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings({}, environment)
    return raised.value.problems


def test_defaults() -> None:
    settings = read_settings({}, LEAST)
    assert (settings.concurrency, settings.max_attempts, settings.max_delivery_count) == (1, 3, 10)
    assert (settings.visibility_timeout_seconds, settings.heartbeat_seconds) == (120, 30)
    assert (settings.drain_timeout_seconds, settings.leave_lease, settings.http_port) == (300, False, 8080)
    assert settings.run_dir == Path("/run/redisqueue")
    assert not settings.run_dir_required


def test_a_flag_wins_and_an_empty_variable_is_none() -> None:
    environment = {**LEAST, "REDISQUEUE_CONCURRENCY": "4", "REDISQUEUE_MAX_ATTEMPTS": ""}
    assert read_settings({}, environment).concurrency == 4
    settings = read_settings({"concurrency": "5", "queue": None}, environment)
    assert (settings.concurrency, settings.queue, settings.max_attempts) == (5, "jobs", 3)


def test_every_option_has_its_twin() -> None:
    assert {option.variable for option in OPTIONS} >= {
        "REDISQUEUE_HANDLER_PATH",
        "REDISQUEUE_KEY_SEPARATOR",
        "REDISQUEUE_SENTINEL_ADDRESSES",
        "REDISQUEUE_TLS_SERVER_NAME",
        "REDISQUEUE_ON_DRAIN_TIMEOUT",
        "REDISQUEUE_CONFIG_HASH",
    }
    assert all(option.flag == "--" + option.variable[11:].lower().replace("_", "-") for option in OPTIONS)


def test_values_that_mean_something_else(tmp_path: Path) -> None:
    environment = {
        **LEAST,
        "REDISQUEUE_MAX_DELIVERY_COUNT": "0",
        "REDISQUEUE_ON_DRAIN_TIMEOUT": "LeaveLease",
        "REDISQUEUE_HANDLER_PATH": f"{tmp_path}:/",
        "REDISQUEUE_VISIBILITY_TIMEOUT_SECONDS": "10",
    }
    settings = read_settings({}, environment)
    assert settings.max_delivery_count is None
    assert settings.leave_lease
    assert settings.handler_path == (tmp_path, Path("/"))
    assert settings.heartbeat_seconds == 2.5


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("CONCURRENCY", "1.5", "(--concurrency): '1.5' must be a whole number from 1 to 1000"),
        ("HANDLER_TIMEOUT_SECONDS", "nan", "'nan' must be a number of seconds above 0"),
        ("HANDLER_TIMEOUT_SECONDS", "1e300", "'1e300' must be a number of seconds above 0, and at most"),
        ("VISIBILITY_TIMEOUT_SECONDS", "9" * 400, "must be a whole number from 1 to 1000000000"),
        ("QUEUE", " ", "(--queue): ' ' must not be blank"),
        ("KEY_SEPARATOR", "\t", "(--key-separator): '\\t' must not be blank"),
        ("QUEUE", "caf\udce9", "(--queue): 'caf\\udce9' must be UTF-8"),
        ("WORKER_ID", "\udcff", "(--worker-id): '\\udcff' must be UTF-8"),
        ("KEEP_COMPLETED", "9" * 20, "must be a whole number from 0 to 1000000000"),
        ("MAX_MESSAGES", "9" * 400, "must be a whole number from 1 to 1000000000"),
        ("DRAIN_TIMEOUT_SECONDS", "inf", "'inf' must be a number of seconds above 0"),
        ("ON_DRAIN_TIMEOUT", "Drop", "'Drop' must be one of ReturnToFront, LeaveLease"),
        ("HEARTBEAT_SECONDS", "61", "61 must be at most half of REDISQUEUE_VISIBILITY_TIMEOUT_SECONDS"),
        ("MAX_ATTEMPTS", "11", "11 must not exceed REDISQUEUE_MAX_DELIVERY_COUNT"),
        ("RETRY_INITIAL_SECONDS", "301", "301 must not exceed REDISQUEUE_RETRY_MAX_SECONDS"),
        ("RUN_DIR", "/" + "x" * 100, "is too long for a Unix socket"),
        ("REDIS_URL_FILE", "/etc/hosts", "give one of them, not both"),
        ("TLS_CA_FILE", "/no/ca.crt", "(--tls-ca-file): cannot read '/no/ca.crt': No such file or directory"),
        ("BURST", "maybe", "(--burst): 'maybe' must be true or false"),
        ("REDIS_MODE", "Sentinel", "Redis connection: 'sentinel_master' is required"),
    ],
)
def test_a_wrong_value_is_named_with_the_way_out(name: str, value: str, problem: str) -> None:
    (found,) = problems({**LEAST, f"REDISQUEUE_{name}": value})
    assert problem in found


def test_the_url_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://elsewhere:7000\n")
    environment = {**LEAST, "REDISQUEUE_REDIS_URL": "", "REDISQUEUE_REDIS_URL_FILE": str(file)}
    assert read_settings({}, environment).connection.url == "redis://elsewhere:7000"
    file.unlink()
    (problem,) = problems(environment)
    assert f"cannot read '{file}'" in problem


def test_sentinels_need_no_url() -> None:
    environment = {
        **LEAST,
        "REDISQUEUE_REDIS_URL": "",
        "REDISQUEUE_REDIS_MODE": "Sentinel",
        "REDISQUEUE_SENTINEL_MASTER": "main",
        "REDISQUEUE_SENTINEL_ADDRESSES": "one:26379,two",
    }
    assert read_settings({}, environment).connection.sentinel_addresses == ("one:26379", "two")


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_one() -> None:
    services = ("VALKEY_SERVICE_HOST", "VALKEY_SERVICE_PORT_HTTP", "VALKEY_PORT", "VALKEY_PORT_6379_TCP_ADDR")
    environment = {f"REDISQUEUE_{name}": "x" for name in (*services, "CONCURENCY", "ZZZZ")}
    assert unknown_variables(LEAST | environment) == [
        "REDISQUEUE_CONCURENCY is no setting; did you mean REDISQUEUE_CONCURRENCY?",
        "REDISQUEUE_ZZZZ is no setting",
    ]


def test_a_password_in_a_wrong_url_is_not_shown() -> None:
    (problem,) = problems({**LEAST, "REDISQUEUE_REDIS_URL": "http://:hunter2@localhost"})
    assert "hunter2" not in problem


def test_folders_of_handlers_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = f"{tmp_path}:{tmp_path / 'nope'}"
    (problem,) = problems({**LEAST, "REDISQUEUE_HANDLER_PATH": path})
    assert problem.startswith("REDISQUEUE_HANDLER_PATH (--handler-path): ")
    assert f"has '{tmp_path / 'nope'}', which is not there" in problem
