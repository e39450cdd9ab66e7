"""`redisqueue stacks` asks each worker pod by kubectl, and tells what each says."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from redisqueue_operator.cli import main

if TYPE_CHECKING:
    from pathlib import Path

# Notes how it was called, and answers from a file: what is not there is refused as kubectl does.
KUBECTL = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
words = [word for word in sys.argv[1:] if not word.startswith("--") or word == "--"]
answers = json.loads((folder / "answers.json").read_text())
answer = answers.get(" ".join(words[:2]))
if answer is None:
    sys.exit("Error from server (NotFound): " + " ".join(words[:2]))
print(json.dumps(answer))
"""
STACK = {
    "message_id": "m1",
    "seconds": 61.25,
    "slot": "thread",
    "pid": None,
    "stack": ["mails.py:7 send\n  post()"],
}
IN_PROCESS = {"message_id": "m2", "seconds": 2.0, "slot": "process", "pid": 17, "stack": None}


def pod(name: str, phase: str = "Running") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase}}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that knows one queue with three pods, of which one is starting."""
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answers = {
        "get redisqueue": {"metadata": {"name": "mails"}},
        "get pods": {"items": [pod("mails-1"), pod("mails-2"), pod("mails-3", "Pending")]},
        "exec mails-1": [STACK, IN_PROCESS],
        "exec mails-2": [],
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    return tmp_path / "calls"


def forget(calls: Path, *names: str) -> None:
    answers = json.loads((calls.parent / "answers.json").read_text())
    kept = {name: answer for name, answer in answers.items() if name not in names}
    (calls.parent / "answers.json").write_text(json.dumps(kept))


def test_each_running_worker_tells_where_its_handlers_stand(
    calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stacks", "rq/mails", "-n", "shop", "--context", "test"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mails-1:",
        "  m1  61.2 s  thread",
        "    mails.py:7 send",
        "      post()",
        "  m2  2.0 s  process 17",
        "    no answer: native code holds the interpreter, or its handler ends just now",
        "",
        "mails-2: no message in hand",
    ]
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert all({"--context=test", "--namespace=shop"} <= {*call} for call in made)
    assert "--selector=redisqueue.dev/queue=mails" in made[1]
    assert made[2][-4:] == ["--", "redisqueue-worker", "stacks", "--json"]
    assert "--container=worker" in made[2]


def test_one_worker_alone_is_asked(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stacks", "mails", "--pod", "mails-2"]) == 0
    assert capsys.readouterr().out == "mails-2: no message in hand\n"
    assert calls.read_text().count('"exec"') == 1


def test_for_a_program_all_is_json(calls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forget(calls, "exec mails-2")
    assert main(["stacks", "mails", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"pod": "mails-1", "messages": [STACK, IN_PROCESS], "problem": None},
        {"pod": "mails-2", "messages": None, "problem": "Error from server (NotFound): exec mails-2"},
    ]


def test_a_worker_that_does_not_answer_is_named_beside_the_others(
    calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(calls, "exec mails-1")
    assert main(["stacks", "mails"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "mails-1: Error from server (NotFound): exec mails-1",
        "",
        "mails-2: no message in hand",
    ]


@pytest.mark.usefixtures("calls")
def test_a_pod_that_is_no_running_worker_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stacks", "mails", "--pod", "mails-3"]) == 1
    assert capsys.readouterr().err == (
        "redisqueue: --pod: mails-3 is no running worker of mails; there are: mails-1, mails-2\n"
    )


def test_a_queue_that_is_not_there_is_told_in_the_words_of_kubectl(
    calls: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget(calls, "get redisqueue")
    assert main(["stacks", "mails"]) == 1
    assert "(NotFound)" in capsys.readouterr().err
