"""`redisqueue top` on a real terminal, with a real Redis that goes away and comes back."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import redis
from tests.support.programs import paused
from tests.support.terminal import Terminal
from tests.support.waiting import eventually

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands.queues.stats import STATS_SHAPE
from redisqueue_operator.cli.live.looks import Looks
from redisqueue_worker.embedded_redis import EmbeddedRedis

if TYPE_CHECKING:
    from collections.abc import Iterator

ALTERNATE, MAIN = "\x1b[?1049h", "\x1b[?1049l"


def top(url: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "redisqueue_operator.cli", "top", "--redis-url", url, *words]


def publish(url: str, name: str, count: int) -> None:
    with redis.Redis.from_url(url) as client:
        queue = RedisMessageQueue(name, client=client, deduplication=False)
        for number in range(count):
            queue.publish(f"{number}")


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """One that the test may stop."""
    with EmbeddedRedis() as server:
        yield server


def test_top_outlives_a_redis_that_goes_away_and_says_that_its_numbers_are_old(server: EmbeddedRedis) -> None:
    publish(server.url, "emails", 3)
    with Terminal(top(server.url), columns=80) as terminal:
        terminal.shows(lambda lines: any(line.split()[:2] == ["emails", "3"] for line in lines), "the number")
        server.stop(kill=True)
        old = terminal.shows(lambda lines: "OLD: numbers of " in "".join(lines), "that they are old")
        assert any(line.split()[:2] == ["emails", "3"] for line in old), "the last numbers stay"
        assert "Redis: " in "".join(old)
        server.start()
        publish(server.url, "later", 2)
        back = terminal.shows(lambda lines: any(line.startswith("later ") for line in lines), "it is back")
        assert "OLD:" not in "".join(back)
        with paused(server):
            terminal.shows(lambda lines: "OLD: numbers of " in "".join(lines), "that they are old")
            terminal.press("q")
            assert terminal.ends() == 0, "a Redis that hangs keeps nobody from leaving"


@pytest.mark.foreign_keys("a search goes by all keys of a Redis")
def test_a_large_redis_is_not_searched_for_queues_at_each_look(
    redis_client: redis.Redis, redis_url: str
) -> None:
    foreign = {f"session::{number}d": "x" for number in range(20_000)}
    redis_client.mset(foreign)
    publish(redis_url, "emails", 3)

    def scans(looks: int) -> int:
        redis_client.config_resetstat()
        for _ in range(looks):
            assert [queue.name for queue in seen.look().queues] == ["emails"]
        return int(redis_client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])

    seen = Looks(redis_client, [], "::")
    once = scans(1)
    assert once < redis_client.dbsize() // 1000 * 2  # every key once
    assert scans(30) < 15 * once
    redis_client.delete(*foreign)
    publish(redis_url, "later", 1)
    eventually(lambda: len(seen.look().queues) == 2, "the new queue is found")


def test_every_size_is_filled_and_the_text_before_comes_back(server: EmbeddedRedis) -> None:
    publish(server.url, "emails", 3)
    with Terminal(top(server.url), columns=20) as terminal:
        for columns, widest in ((20, "DLQ"), (60, "EMPTY IN"), (300, "DELAYED"), (20, "DLQ")):
            terminal.resize(columns)
            lines = terminal.shows(
                lambda lines, columns=columns, widest=widest: (
                    max(map(len, lines)) <= columns
                    and any(line.startswith("QUEUE") and widest in line for line in lines)
                ),
                f"{columns} columns",
            )
            assert "".join(lines).count("DELAYED") == (columns == 300)
        assert terminal.settings != terminal.before, "keys come one by one"
        terminal.press("\x03")
        assert terminal.ends() == 130
        assert terminal.settings == terminal.before
        assert terminal.raw.index(ALTERNATE) < terminal.raw.index(MAIN)


def test_who_is_told_to_end_leaves_the_terminal_as_it_was(redis_url: str) -> None:
    with Terminal(top(redis_url), columns=80) as terminal:
        terminal.shows(lambda lines: "no queue found" in "".join(lines), "that there is none")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ends() == 143
        assert terminal.settings == terminal.before
        assert MAIN in terminal.raw


def test_more_queues_than_lines_are_scrolled_to(redis_url: str) -> None:
    for number in range(12):
        publish(redis_url, f"queue-{number:02}", 1)
    with Terminal(top(redis_url), columns=80, lines=10) as terminal:
        terminal.shows(lambda lines: any(line.startswith("queue-00 ") for line in lines), "the first")
        terminal.press("\x1b[B")
        terminal.shows(lambda lines: any(line.startswith("2 to ") for line in lines), "from the second on")
        terminal.press("k")
        terminal.shows(lambda lines: any(line.startswith("1 to ") for line in lines), "from the first on")


def test_once_and_a_mistake_draw_nothing(redis_url: str) -> None:
    publish(redis_url, "emails", 3)
    with Terminal(top(redis_url, "--once"), columns=80) as terminal:
        assert terminal.ends() == 0
        eventually(lambda: "emails" in terminal.read(), "the table")
        assert "\x1b" not in terminal.raw
    with Terminal(top(redis_url, "emials"), columns=80) as terminal:
        assert terminal.ends() == 1
        assert "did you mean emails?" in terminal.raw
        assert terminal.settings == terminal.before


def test_rates_and_the_age_of_the_oldest_are_told(redis_client: redis.Redis, redis_url: str) -> None:
    queue = RedisMessageQueue(
        "emails", client=redis_client, deduplication=False, visibility_timeout_seconds=60
    )
    for number in range(3):
        queue.publish(f"{number}")
    with queue.process_message() as first:
        assert first == b"0"
    with Terminal(top(redis_url), columns=110) as terminal:
        header, row = terminal.shows(
            lambda lines: len(lines) > 2 and ">" in lines[2] and "?" not in lines[2], "all that it reckons"
        )[1:3]
        assert row[: header.index("OLDEST") + 6].split()[-1].startswith(">"), "they were there before"
        assert header.split()[:3] == ["QUEUE", "PENDING", "TREND"]


def test_json_is_one_line_of_all_numbers(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    publish(redis_url, "emails", 3)
    assert main(["top", "--json", "--redis-url", redis_url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [*answer] == ["at", "redis", "queues"]
    assert [*answer["queues"][0]] == [*STATS_SHAPE]
    assert answer["queues"][0]["pending"] == 3
