"""`redisqueue` from a shell: what it prints, and what it says about a mistake."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.redisqueue_cases import SAMPLES

from redis_message_queue import RedisMessageQueue
from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import redis

INVOICES = SAMPLES / "invoices.yaml"
QUEUE = """
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: emails}
spec: {redis: {url: "redis://redis:6379"}, worker: {handler: "m:f"}}
"""


@pytest.mark.parametrize("flag_first", [True, False])
def test_published_messages_are_peeked_at_in_their_order(
    redis_url: str, capsys: pytest.CaptureFixture[str], flag_first: bool
) -> None:
    words, flag = ["emails", "one", "two"], ["--redis-url", redis_url]
    assert main(["publish", *flag, *words] if flag_first else ["publish", words[0], *flag, *words[1:]]) == 0
    assert capsys.readouterr().out == "published 2 to emails\n"
    assert main(["peek", "emails", *flag]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    assert main(["peek", "emails", "--count", "1", *flag]) == 0
    assert capsys.readouterr().out.split()[1:] == ["one"]


def test_messages_with_a_priority_or_a_limit_key_are_found_and_peeked_at(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = RedisMessageQueue("exports", client=redis_client)
    queue.enqueue_many(["one", "two", "three"], priority="high", limit_key="tenant")
    where = ["--redis-url", redis_url]
    assert main(["peek", "exports", *where]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["one", "two", "three"]
    assert main(["peek", "exports", "--count", "2", *where]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    redis_client.delete("exports::pending")  # nothing but the lane is left
    assert main(["peek", "exports", *where]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["two", "three"]
    assert main(["stats", *where]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["exports", "2"]


def test_lines_of_input_are_published_and_duplicates_skipped_on_request(
    redis_client: redis.Redis,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a\n\nb\r\na\n"))
    assert main(["publish", "emails", "--deduplicate", "--redis-url", redis_url]) == 0
    assert capsys.readouterr().out == "published 2 to emails, skipped 1 duplicates\n"
    assert redis_client.llen("emails::pending") == 2


def test_peek_shows_what_is_not_printable_escaped(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    redis_client.lpush("emails::failed", b"\x1b[2J\xff")
    assert main(["peek", "emails", "--of", "failed", "--redis-url", redis_url]) == 0
    assert capsys.readouterr().out == "-  \\x1b[2J\\xff\n"


def test_top_finds_the_queues(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    RedisMessageQueue("emails", client=redis_client).publish("one")
    assert main(["top", "--redis-url", redis_url]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.startswith("QUEUE")
    assert row.split()[:3] == ["emails", "1", "0"]


def test_a_queue_that_cannot_be_read_hides_no_other(
    redis_client: redis.Redis, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    RedisMessageQueue("emails", client=redis_client).publish("one")
    redis_client.set("wrong::pending", "no list")
    for named in ([], ["wrong", "emails"]):
        assert main(["stats", *named, "--redis-url", redis_url]) == 1
        told = capsys.readouterr()
        rows = {row.split()[0]: row.split()[1:3] for row in told.out.splitlines()[1:]}
        assert rows == {"emails": ["1", "0"], "wrong": ["?", "?"]}
        assert told.err.startswith("redisqueue: wrong: wrong::pending is a string, expected a list")
    assert main(["stats", "--json", "--redis-url", redis_url]) == 1
    emails, wrong = sorted(json.loads(capsys.readouterr().out), key=lambda one: str(one["queue"]))
    assert (emails["pending"], sorted(wrong)) == (1, ["problem", "queue"])


def test_lint_accepts_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(QUEUE)
    assert main(["lint", str(file)]) == 0
    assert capsys.readouterr().out == "1 RedisQueue: no problem found\n"
    again = {"kind": "RedisQueueRedrive", "metadata": {"name": "again"}, "spec": {"queueRef": {"name": "a"}}}
    file.write_text(f"{QUEUE}---\n{json.dumps({'apiVersion': 'redisqueue.dev/v1alpha1', **again})}")
    assert main(["lint", str(file)]) == 0
    assert capsys.readouterr().out == "1 RedisQueue, 1 RedisQueueRedrive: no problem found\n"
    day, noon = ('start: "0 8 * * *", end: "0 18 * * *", ', 'start: "0 12 * * *", end: "0 13 * * *", ')
    windows = f"[{{{day}minReplicas: 3}}, {{{noon}maxReplicas: 2}}]"
    file.write_text(QUEUE.replace('"m:f"}', f'"m:f"}}, scaling: {{schedules: {windows}}}'))
    assert main(["lint", str(file)]) == 0
    warned, verdict = capsys.readouterr().out.splitlines()
    assert "warning: emails: spec.scaling.schedules: windows overlap so that minReplicas 3 is above" in warned
    assert verdict == "1 RedisQueue: no problem found"
    file.write_text(QUEUE.replace('handler: "m:f"', 'handlers: "m:f"'))
    assert main(["lint", str(file)]) == 1
    assert "spec.worker.handlers: unknown field: did you mean handler?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["publish", "emails", "x", "--redis-url", "nonsense"], 2, "--redis-url"),
        (["publish", " ", "x"], 2, "QUEUE must be"),
        (["top", "--redis-url", "redis://127.0.0.1:1"], 1, "Connection refused"),
        (["lint", "absent.yaml"], 1, "absent.yaml"),
        (["local", "absent.yaml"], 1, "absent.yaml: cannot be read"),
    ],
)
def test_a_mistake_is_named_without_a_traceback(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["lint"], ["import", "scaledobject"], ["acl", "-f"], ["local"]])
def test_a_file_that_is_no_text_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\n")
    assert main([*words, str(file)]) == 1
    assert f"{file}: cannot be read: 'utf-8' codec can't decode byte 0xe9" in capsys.readouterr().err


def test_names_in_a_file_do_not_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "queue.yaml").write_text(QUEUE.replace("emails", r'"\e]0;mine\a"', 1))
    assert main(["lint", str(file)]) == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("invoices", "'invoices' must be NAME=DIR, as in emails=./handlers"),
        ("=.", "'=.' must be NAME=DIR"),
        ("invoices=absent", "'absent' is no folder"),
    ],
)
def test_what_is_no_folder_for_an_image_is_named(
    source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["local", str(INVOICES), "--source", source])
    assert said in capsys.readouterr().err


def test_a_folder_that_nobody_would_look_into_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", str(INVOICES), "--source", "mails=."]) == 1
    said = capsys.readouterr().err
    assert "--source mails: no RedisQueue of this name with worker.source.image in " in said
    assert "(it has invoices)" in said


@pytest.mark.parametrize("command", ["peek", "redrive", "repair", "top"])
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("emials", "did you mean emails?"),
        ("emails,orders", "did you mean emails or orders?"),
        ("x", "`redisqueue top` lists what is there"),
    ],
)
def test_a_queue_that_never_was_is_no_success(
    redis_client: redis.Redis,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
    hint: str,
) -> None:
    for known in ("emails", "orders"):
        RedisMessageQueue(known, client=redis_client).publish("one")
    assert main([command, name, "--redis-url", redis_url]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"no queue {name!r} at redis://" in said.err
    assert hint in said.err


@pytest.mark.parametrize("command", ["peek", "redrive", "repair", "top"])
def test_a_queue_that_was_emptied_or_is_declared_is_no_mistake(
    tmp_path: Path, redis_client: redis.Redis, redis_url: str, command: str
) -> None:
    queue = RedisMessageQueue("emails", client=redis_client)
    queue.publish("one")
    with queue.process_message() as payload:
        assert payload == b"one"
    assert main([command, "emails", "--redis-url", redis_url]) == 0
    file = tmp_path / "queue.yaml"
    file.write_text(QUEUE.replace("name: emails", "name: new").replace("redis://redis:6379", redis_url))
    assert main([command, "-f", str(file)]) == 0


def test_who_may_not_ask_is_told_what_is_there(redis_client: redis.Redis, redis_url: str) -> None:
    redis_client.execute_command("ACL", "SETUSER", "blind", "reset", "on", ">pw", "~*", "+@all", "-exists")
    try:
        url = redis_url.replace("redis://", "redis://blind:pw@")
        assert main(["peek", "emails", "--redis-url", url]) == 0
    finally:
        redis_client.execute_command("ACL", "DELUSER", "blind")


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["peek", "emails", "extra"], ["publish", "emails", "--nonsense"]]
)
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


@pytest.mark.foreign_keys("a key of the queue is replaced by something else")
@pytest.mark.parametrize(
    ("command", "key", "kind"),
    [
        ("stats", "delayed", "zset"),
        ("workers", "workers", "hash"),
        ("top --json", "pending", "list"),
        ("peek", "pending", "list"),
        ("publish", "pending", "list"),
        ("redrive --dry-run", "dlq", "list"),
    ],
)
def test_a_key_of_the_wrong_type_is_named_with_the_way_out(
    command: str,
    key: str,
    kind: str,
    redis_client: redis.Redis,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And no script of ours, of which nobody has heard."""
    redis_client.set(f"jobs::{key}", "text")
    word, *flags = command.split()
    message = ["hello"] if word == "publish" else []
    main([word, "jobs", *message, *flags, "--redis-url", redis_url])
    said = capsys.readouterr()
    text = said.out + said.err
    assert f"jobs::{key} is a string, expected a {kind}; something else wrote it: rename the key" in text
    assert "script" not in text
