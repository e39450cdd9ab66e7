"""`redisqueue acl`: what it prints makes users that can do their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.integration.test_cli import QUEUE

from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import redis


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["acl", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_lines_make_users(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    users = ("producer", "worker", "operator", "caretaker")
    redis_client.acl_deluser(*users)  # another file's may be left, with more rights
    for line in printed(capsys, "my*jobs"):
        redis_client.execute_command(*line.split())
    url = redis_url.replace("//", "//{}:PASSWORD@")
    assert main(["publish", "my*jobs", "one", "--redis-url", url.format("producer")]) == 0
    assert main(["redrive", "my*jobs", "--redis-url", url.format("caretaker")]) == 0
    assert main(["peek", "my*jobs", "--redis-url", url.format("producer")]) == 1
    assert "no permissions" in capsys.readouterr().err
    assert main(["publish", "my jobs", "one", "--redis-url", url.format("producer")]) == 1
    redis_client.acl_deluser(*users)


def test_one_user_may_have_several_roles(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(capsys, "jobs", "--role", "operator", "--role", "caretaker", "--user", "rq")
    words = line.split()
    assert words[:6] == ["ACL", "SETUSER", "rq", "on", ">PASSWORD", "~jobs::*"]
    assert {"+zcount", "+lset", "+client|setname"} <= set(words)
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("of", "more"),
    [
        ('redis: {url: "redis://redis:6379"}', set()),
        ('redis: {url: "redis://redis:6379/3"}', {"+select"}),
        ('redis: {url: "redis://redis:6379/3", database: 0}', set()),
        ("redis: {urlFrom: {secretKeyRef: {name: a, key: b}}}", {"+select"}),
        (
            'queue: {name: "{emails}"}, redis: {mode: Cluster, url: "redis://redis:6379"}',
            {"+cluster|slots", "+command", "+asking"},
        ),
    ],
)
def test_a_redisqueue_says_what_more_is_needed(
    of: str, more: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(QUEUE.replace('redis: {url: "redis://redis:6379"}', of))
    (line,) = printed(capsys, "-f", str(file), "--role", "worker")
    (plain,) = printed(capsys, "emails", "--role", "worker")
    assert {word for word in line.split() if word not in plain.split() and word[0] == "+"} == more


def test_a_queue_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acl"]) == 1
    assert "which queue?" in capsys.readouterr().err
