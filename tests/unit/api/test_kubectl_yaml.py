"""Files mean what they mean to kubectl, whoever reads them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.support.api_server import binaries
from tests.support.required import required
from tests.support.waiting import PATIENCE_SECONDS

from redisqueue_operator.api.kubectl_yaml import load_all
from redisqueue_operator.local.definitions import DefinitionError, objects_in

if TYPE_CHECKING:
    from pathlib import Path

SCALARS: dict[str, Any] = {
    **dict.fromkeys(["y", "Y", "yes", "on", "On", "true", "True", "TRUE"], True),
    **dict.fromkeys(["n", "N", "no", "off", "OFF", "false"], False),
    **dict.fromkeys(["~", "null", "Null", "NULL", ""]),
    **{text: text for text in ("oN", "tRUE", "12:30", "190:20:30", "2026-11-28", "2026-11-28T10:00:00Z")},
    **{text: text for text in ("=", "0o8", "0x", "1e", "e3", "_1", "1.2.3", "10.0.0.0/8", "1.0e400", "+")},
    "1e3": 1000,
    "1.5E3": 1500,
    "1e+3": 1000,
    "5.": 5,
    "1.0": 1,
    ".5": 0.5,
    "+.5": 0.5,
    "1_0.5": 10.5,
    "0o17": 15,
    "0O17": 15,
    "017": 15,
    "-017": -15,
    "08": 8,
    "+0o7": 7,
    "0x1F": 31,
    "0B11": 3,
    "-0": 0,
    "5_000": 5000,
    "1_": 1,
    "0777": 511,
    "!!str 5": "5",
    "'y'": "y",
    "!!timestamp 2026-11-28": "2026-11-28",
}
HEAD = "apiVersion: redisqueue.dev/v1alpha1\nkind: RedisQueue\nmetadata: {name: a}\nspec:\n"
KEYS = "  y: a\n  5: b\n  1e3: c\n  12:30: d\n  2026-11-28: e\n  a: {<<: {b: 1}, c: 0o17}\n"
REFUSED = [".inf", "-.INF", ".nan", "{~: 1}"]


def test_plain_scalars_are_what_kubectl_makes_of_them() -> None:
    text = HEAD + "".join(f"  k{n}: {value}\n" for n, value in enumerate(SCALARS))
    (document,) = load_all(text)
    found = dict(zip(SCALARS, document["spec"].values(), strict=True))
    assert {k: (type(v), v) for k, v in found.items()} == {k: (type(v), v) for k, v in SCALARS.items()}


def test_keys_are_texts() -> None:
    (document,) = load_all(HEAD + KEYS)
    assert document["spec"] == {
        "true": "a", "5": "b", "1000": "c", "12:30": "d", "2026-11-28": "e", "a": {"b": 1, "c": 15},
    }  # fmt: skip


@pytest.mark.parametrize("value", REFUSED)
def test_what_json_cannot_say_is_refused(value: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_all(f"{HEAD}  k: {value}\n")
    with pytest.raises(DefinitionError, match=r"queue\.yaml: not YAML"):
        list(objects_in(f"{HEAD}  k: {value}\n", "queue.yaml"))


def kubectl(text: str, tmp_path: Path) -> tuple[int, str]:
    program = required(binaries(), "kubectl: tests/cluster/cluster build gets it") / "kubectl"
    file = tmp_path / "queue.yaml"
    file.write_text(text)
    done = subprocess.run(
        [program, "label", "--local", "-f", file, "a=b", "-o", "json"],
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_kubectl_itself_agrees(tmp_path: Path) -> None:
    text = HEAD + KEYS + "".join(f"  k{n}: {value}\n" for n, value in enumerate(SCALARS))
    code, output = kubectl(text, tmp_path)
    assert code == 0
    assert json.loads(output)["spec"] == load_all(text)[0]["spec"]


@pytest.mark.parametrize("value", REFUSED)
def test_kubectl_refuses_it_too(value: str, tmp_path: Path) -> None:
    assert kubectl(f"{HEAD}  k: {value}\n", tmp_path)[0] != 0
