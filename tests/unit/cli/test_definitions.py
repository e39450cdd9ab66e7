"""Reading the file of `redisqueue local`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from redisqueue_operator.local.definitions import DefinitionError, Definitions

if TYPE_CHECKING:
    from pathlib import Path

QUEUE = """
apiVersion: redisqueue.dev/v1alpha1
kind: RedisQueue
metadata: {name: emails}
spec: {redis: {url: "redis://redis:6379"}, worker: {handler: "m:f"}}
"""
CONFIG_MAP = "\n---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: code}, data: {m.py: 'x = 1'}}\n"


def test_queues_and_config_maps_are_found_and_other_kinds_passed_over() -> None:
    other = "\n---\n{apiVersion: v1, kind: Service, metadata: {name: redis}}\n"
    found = Definitions.parse(QUEUE + CONFIG_MAP + other)
    assert list(found.queues) == [("default", "emails")]
    assert found.config_maps == {("default", "code"): {"m.py": "x = 1"}}


def test_a_queue_gets_the_same_uid_each_time_and_another_name_another_one() -> None:
    first, again = (Definitions.parse(QUEUE).queues["default", "emails"]["metadata"]["uid"] for _ in range(2))
    other = Definitions.parse(QUEUE.replace("emails", "images")).queues["default", "images"]["metadata"][
        "uid"
    ]
    assert first == again != other


def test_the_items_of_a_list_count() -> None:
    text = '{"kind": "List", "items": [{"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue",'
    text += ' "metadata": {"name": "a", "namespace": "b"}}]}'
    assert list(Definitions.parse(text).queues) == [("b", "a")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CONFIG_MAP, "no RedisQueue in it"),
        ("kind: [RedisQueue]", r"kind must be a text, got \['RedisQueue'\]"),
        ("{kind: List, items: 5}", "items of a List must be a list, got 5"),
        (
            "{kind: ConfigMap, apiVersion: v1, metadata: {name: a}, data: 5}",
            "data of a ConfigMap must be a mapping, got 5",
        ),
        ("a: " + "9" * 5000, "not YAML: .*digits"),
        ("kind: RedisQueue\nspec: &a {b: *a}", "nested deeper than 200"),
        ("kind: RedisQueue\nspec: &a [" + "*a, " * 1000 + "]", "larger than 10000000"),
        ("a: " + "{a: " * 300 + "}" * 300, "nested deeper than 200"),
        ("a: [", "not YAML"),
        ("- a", "is a list, not a Kubernetes object"),
        ("kind: RedisQueue\napiVersion: redisqueue.dev/v1alpha1", "a RedisQueue has no metadata.name"),
    ],
)
def test_a_faulty_file_is_named_with_its_fault(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(text)
    with pytest.raises(DefinitionError, match=expected) as raised:
        Definitions.read(file)
    assert str(file) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"absent\.yaml: cannot be read"):
        Definitions.read(tmp_path / "absent.yaml")
