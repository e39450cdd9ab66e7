"""`--json` of the commands that a person mostly reads: one line, with the fields that the page names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.test_cli import QUEUE

from redis_message_queue import RedisMessageQueue
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main
from redisqueue_operator.cli.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Ask = Callable[..., Any]

PAGE = Path(__file__).parents[2] / "operator" / "docs" / "command-line.md"


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], redis_url: str) -> Ask:
    """What a command prints as its one line of JSON."""

    def run(*words: str, code: int = 0, place: bool = True) -> Any:
        capsys.readouterr()
        assert main([*words, "--json", *(["--redis-url", redis_url] if place else [])]) == code
        (line,) = capsys.readouterr().out.splitlines()
        return json.loads(line)

    return run


def test_publish_and_peek(ask: Ask, redis_client: redis.Redis) -> None:
    assert ask("publish", "jobs", "a", "b") == {"queue": "jobs", "published": 2, "skipped": 0}
    first, second = ask("peek", "jobs")
    assert [*first] == ["message_id", "due", "payload"]
    assert (first["payload"], second["payload"], first["due"]) == ("a", "b", None)
    RedisMessageQueue("jobs", client=redis_client).enqueue("later", delay_seconds=3600)
    (delayed,) = ask("peek", "jobs", "--of", "delayed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", delayed["due"])
    assert ask("peek", "jobs", "--of", "failed") == []
    redis_client.lpush(QueueKeys("jobs").failed, b"\xff")
    assert ask("peek", "jobs", "--of", "failed") == [
        {"message_id": None, "due": None, "payload": None, "payload_hex": "ff"}
    ]


def test_redrive_and_repair(ask: Ask, redis_client: redis.Redis) -> None:
    redis_client.lpush(QueueKeys("jobs").dead_letter, "one", "two")
    dry = ask("redrive", "jobs", "--dry-run", "--match", "one")
    assert dry == {
        "queue": "jobs",
        "from": "dead-letter",
        "dry_run": True,
        "moved": 1,
        "skipped": 1,
        "remaining": 0,
    }
    assert ask("redrive", "jobs", "--max", "1")["remaining"] == 1
    redis_client.lpush(QueueKeys("jobs").processing, "lost")
    found = ask("repair", "jobs", "--dry-run")
    assert (found["looked_at"], found["without_lease"], found["dry_run"]) == (1, 1, True)
    assert [*found][:3] == ["queue", "dry_run", "looked_at"]


def test_acl(ask: Ask, redis_client: redis.Redis) -> None:
    every = ask("acl", "jobs")
    assert [*every[0]] == ["user", "roles", "rules", "command"]
    (one,) = ask("acl", "jobs", "--user", "app", "--role", "producer", "--role", "worker")
    assert (one["user"], one["roles"]) == ("app", ["producer", "worker"])
    assert one["command"].split()[-1] in one["rules"]


def test_lint(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(QUEUE)
    assert ask("lint", str(file), place=False) == {
        "checked": {"RedisQueue": 1},
        "problems": [],
        "warnings": [],
    }
    file.write_text(QUEUE.replace('handler: "m:f"', 'handler: "m:f", concurrency: 0'))
    (problem,) = ask("lint", str(file), place=False, code=1)["problems"]
    assert [*problem] == ["file", "name", "field", "message", "value"]
    assert (problem["name"], problem["field"], problem["value"]) == ("emails", "spec.worker.concurrency", 0)


def test_every_command_that_tells_something_has_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`local` runs on, `completion` is for a shell, and of two commands each action has its own."""
    for name in COMMANDS.keys() - {"local", "completion", "dlq", "import"}:
        assert main(["__complete", name, "--js"]) == 0
        assert capsys.readouterr().out.startswith("--json\t"), name


def test_the_page_names_each_command() -> None:
    text = PAGE.read_text()
    assert [name for name in COMMANDS if f"`{name}" not in text] == []
