"""`redisqueue redrive`, and how commands find the queue of a RedisQueue."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.queues import payloads
from tests.support.server_binaries import valkey
from tests.support.servers import MASTER, SERVERS, sentinel_pair
from tests.support.worker_process import eventually

from redis_message_queue import RedisMessageQueue
from redis_message_queue.consumer import Consumer, Outcome, Settlement
from redis_message_queue.keys import QueueKeys
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import redis

KEYS = QueueKeys("emails")
LETTERS = [json.dumps({"id": number, "type": "ab"[number % 2]}) for number in range(20)]


@pytest.fixture
def letters(redis_client: redis.Redis) -> None:
    redis_client.lpush(KEYS.dead_letter, *LETTERS)
    redis_client.lpush(KEYS.failed, "one", "two")


@pytest.mark.usefixtures("letters")
def test_letters_become_pending_again(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--redis-url", redis_url]
    assert main(["redrive", "emails", "--dry-run", "--field", "type=a", *where]) == 0
    said = "emails: would move 10 dead letters to pending, 10 do not match\n"
    assert capsys.readouterr().out == said
    assert redis_client.llen(KEYS.dead_letter) == 20
    chosen = ["--field", "type=a", "--match", '"id": 1?[024]', "--max", "4", "--rate", "1000"]
    assert main(["redrive", "emails", *chosen, *where]) == 0
    assert capsys.readouterr().out.startswith("emails: moved 4 dead letters to pending, ")
    assert payloads(redis_client, KEYS.pending) == [LETTERS[0], LETTERS[2], LETTERS[4], LETTERS[10]]
    assert main(["redrive", "emails", "--from", "failed", "--max", "1", *where]) == 0
    assert capsys.readouterr().out == "emails: moved 1 failed letter to pending, 1 not looked at\n"
    assert payloads(redis_client, KEYS.failed) == ["two"]


@pytest.mark.usefixtures("letters")
def test_interrupted_it_says_how_to_go_on(redis_client: redis.Redis, redis_url: str) -> None:
    command = [sys.executable, "-m", "redisqueue_operator.cli", "redrive", "emails", "--redis-url", redis_url]
    slow = subprocess.Popen([*command, "--rate", "2"], stderr=subprocess.PIPE, text=True)
    eventually(lambda: redis_client.llen(KEYS.pending) >= 2, "some were moved")
    slow.send_signal(signal.SIGINT)
    assert slow.communicate()[1].endswith("; interrupted: start it again to go on\n")
    assert slow.returncode == 130
    assert redis_client.llen(KEYS.dead_letter) > 0
    subprocess.run(command, check=True)
    assert payloads(redis_client, KEYS.pending) == LETTERS


def test_letters_are_chosen_by_the_reason_that_a_worker_gave(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    RedisMessageQueue("emails", client=redis_client).publish_many(["a", "b", "c"])
    consumer = Consumer(redis_client, "emails")
    reasons = ("Timeout", "BadInput", "ConnectTimeout")
    claims = consumer.claim(3).claims
    consumer.settle(
        [
            Settlement(claim, Outcome.DEAD, reason=reason)
            for claim, reason in zip(claims, reasons, strict=True)
        ]
    )
    redis_client.lpush(KEYS.dead_letter, "of somebody else")
    assert main(["redrive", "emails", "--reason", "Timeout$", "--redis-url", redis_url]) == 0
    said = "emails: moved 2 dead letters to pending, 2 do not match\n"
    assert capsys.readouterr().out == said
    assert payloads(redis_client, KEYS.pending) == ["a", "c"]


RESOURCE = """
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: mail}
spec:
  redis: {url: "%s", auth: {secretRef: {name: login, usernameKey: user, passwordKey: password}}}
  queue: {name: emails}
  worker: {handler: "m:f"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {user: operator, password: "pass/word"}
"""


@pytest.mark.usefixtures("letters")
def test_a_file_says_where_the_queue_is_and_how_to_log_in(
    redis_client: redis.Redis, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.execute_command("ACL", "SETUSER", "operator", "reset", "on", ">pass/word", "~*", "+@all")
    file = tmp_path / "queue.yaml"
    file.write_text(RESOURCE % redis_url)
    assert main(["redrive", "-f", str(file)]) == 0
    assert main(["publish", "mail", "three", "-f", str(file)]) == 0
    assert main(["peek", "mail", "--of", "failed", "-f", str(file)]) == 0
    assert main(["top", "-f", str(file)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("emails: moved 20 dead letters to pending\npublished 1 to emails\n")
    assert told.splitlines()[-1].split()[:2] == ["emails", "21"]
    redis_client.execute_command("ACL", "SETUSER", "operator", ">another", "<pass/word")
    assert main(["peek", "-f", str(file)]) == 1
    assert "invalid username-password pair" in capsys.readouterr().err
    file.write_text((RESOURCE % "redis://127.0.0.1:1").replace("pass/word", "another"))
    assert main(["peek", "-f", str(file), "--redis-url", redis_url, "--of", "failed"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    redis_client.acl_deluser("operator")


@contextmanager
def in_a_cluster() -> Iterator[dict[str, Any]]:
    with SERVERS["valkey-9-cluster"].start() as server:
        yield {"url": server.url, "mode": "Cluster"}


@contextmanager
def behind_a_sentinel() -> Iterator[dict[str, Any]]:
    with sentinel_pair(valkey) as (_, _, (host, port)):
        named = {"masterName": MASTER, "addresses": [f"{host}:{port}"]}
        yield {"url": "redis://ignored", "mode": "Sentinel", "sentinel": named}


@pytest.mark.parametrize("opened", [in_a_cluster, behind_a_sentinel])
def test_every_kind_of_redis_is_reached(
    opened: Callable[[], AbstractContextManager[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with opened() as place:
        spec = {"redis": place, "queue": {"name": "{emails}"}, "worker": {"handler": "m:f"}}
        file = tmp_path / "queue.yaml"
        file.write_text(json.dumps({"kind": "RedisQueue", "metadata": {"name": "emails"}, "spec": spec}))
        for command in (["publish", "emails", "one"], ["redrive"], ["top"]):
            assert main([*command, "-f", str(file)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "{emails}: moved 0 dead letters to pending"
    assert told[-1].split()[:2] == ["{emails}", "1"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["redrive"], 1, "which queue?"),
        (["redrive", "emails", "--match", "("], 2, "--match, --reason: '(' is no regular expression"),
        (["redrive", "emails", "--from", "failed", "--reason", "a"], 2, "--reason: only dead letters"),
        (["redrive", "emails", "--field", "type"], 2, "--field: 'type' is not of the form PATH=VALUE"),
        (["redrive", "-f", "absent.yaml"], 1, "absent.yaml"),
        (["redrive", " "], 2, "QUEUE must be a non-empty string"),
    ],
)
def test_a_mistake_is_named(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert said in capsys.readouterr().err


def test_a_file_must_say_which_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "queues.yaml"
    file.write_text("---".join((RESOURCE % "redis://r").replace("mail}", name + "}") for name in ("a", "b")))
    assert main(["redrive", "-f", str(file)]) == 1
    assert "2 RedisQueues in it; name one of: a, b" in capsys.readouterr().err
    assert main(["redrive", "c", "-f", str(file)]) == 1
    assert "0 RedisQueues named c in it; name one of: a, b" in capsys.readouterr().err


@pytest.mark.parametrize("flag", [["--rate", "0"], ["--max", "-1"], ["--from", "pending"]])
def test_wrong_numbers_are_wrong_usage(flag: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["redrive", "emails", *flag])
    assert raised.value.code == 2
