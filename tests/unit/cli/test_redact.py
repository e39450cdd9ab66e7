"""What a support bundle tells, and what it must not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from redisqueue_operator.cli.bundle.redact import REMOVED, Redactor

CANARY = "c4n4ry-s3cr3t"


def redacted(item: Any, *texts: str, is_operator: bool = False) -> tuple[Any, list[str]]:
    redactor = Redactor()
    structure = redactor.structure(item, is_operator=is_operator)
    return redactor.texts(structure), [redactor.text(text) for text in texts]


@pytest.mark.parametrize(
    "item",
    [
        {"env": [{"name": "A", "value": CANARY}]},
        {"command": ["sh", "-c", f"x {CANARY}"]},
        {"args": [f"--password={CANARY}"]},
        {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": CANARY}}},
        {"metadata": {"annotations": {"mine": CANARY}}},
        {"metadata": {"managedFields": [CANARY]}},
        {"lifecycle": {"preStop": {"exec": {"command": [CANARY]}}}},
        {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": CANARY}]}},
        {"lastState": {"terminated": {"message": f"a\n{CANARY}"}}},
        {"data": {"password": CANARY}},
        {"spec": {"match": {"field": "user", "equals": CANARY}}},
        {"spec": {"payload": f"to {CANARY}"}},
        {"csi": {"volumeAttributes": {"password": CANARY}}},
        {"flexVolume": {"options": {"clientSecret": CANARY}}},
        {"flexVolume": {"options": {"accountkey": CANARY}}},
        {"csi": {"volumeAttributes": {"sas": CANARY}}, "message": f"mount: {CANARY} is refused"},
        {"spec": {"payload": {"to": [{CANARY: 1}, CANARY]}}},
        {"url": f"rediss://user:{CANARY}@redis:6379"},
        {"url": f"redis://:{CANARY}@redis"},
        [{"deep": [{"env": [{"name": "A", "value": CANARY}]}, {"message": f"it was {CANARY}!"}]}],
    ],
)
def test_it_is_taken_out_wherever_secrets_may_stand(item: Any) -> None:
    assert CANARY not in json.dumps(redacted(item)[0])


@pytest.mark.parametrize(
    "text",
    [
        f"connect redis://default:{CANARY}@redis:6379/0 failed",
        f"password={CANARY}",
        f'{{"api_key": "{CANARY}"}}',
        f"Authorization: Bearer {CANARY}",
        f"REDIS_PASSWORD: {CANARY}, retrying",
        f"redis://user:p@{CANARY}@redis:6379",
        f'{{"password": "two words {CANARY}"}}',
        json.dumps({"message": json.dumps({"password": f'a"b {CANARY}'})}),
        json.dumps({"message": json.dumps({"Authorization": f"Bearer {CANARY}"})}),
        f"pwd='not closed {CANARY}",
        f"password=a,{CANARY}",
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        f"--redis-password {CANARY}",
        f"mount -o username=shop,accountkey={CANARY}",
        f"AccountName=shop;AccountKey={CANARY};EndpointSuffix=x",
        f"403 for Bearer {CANARY}",
        f"[('authorization', 'basic {CANARY}=')]",
        json.dumps({"message": f"password=\u00fc\\{CANARY}"}),
        f"-----BEGIN RSA PRIVATE KEY-----\nMII\n{CANARY}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_password_is_taken_out_of_any_text(text: str) -> None:
    assert CANARY not in redacted({}, text)[1][0]


def test_what_stands_around_a_password_stays() -> None:
    said = [
        "rediss://u:a@one:1,rediss://:b@two:2 to ann@example.com",
        '{"message": "got {\\"token\\": \\"a b\\", \\"to\\": \\"ann\\"}"}',
        "neither basic authentication nor a bearer token was sent",
    ]
    assert redacted({}, *said)[1] == [
        f"rediss://{REMOVED}@one:1,rediss://{REMOVED}@two:2 to ann@example.com",
        said[1].replace("a b", REMOVED),
        said[2],
    ]


@pytest.mark.parametrize("secret", ["ä-c4n4ry", 'ü"c4n4ry', "c4n4ry\\ß", "\N{GRINNING FACE}c4n4ry"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_is_recognised_as_json_writes_it(secret: str, depth: int) -> None:
    log = json.dumps({"message": f"it was {secret}!"})
    for _ in range(depth - 1):
        log = json.dumps({"message": log})
    upper = re.sub(r"(?<=\\u)[0-9a-f]{4}", lambda found: found[0].upper(), log)
    of_another_library = upper.replace('\\"c4', "\\u0022c4")
    item = {"env": [{"name": "A", "value": secret}]}
    for told in redacted(item, log, of_another_library)[1]:
        text = told
        for _ in range(depth):
            text = json.loads(text)["message"]
        assert text == f"it was {REMOVED}!"


def test_an_escape_that_is_no_character_stays() -> None:
    said = [r'{"message": "a\ud83d b\u000a c\u00z d\\u"}', "C:\\users"]
    assert redacted({}, *said)[1] == said


def test_what_is_removed_once_is_removed_everywhere() -> None:
    item = {"env": [{"name": "URL", "value": f"https://api/{CANARY}?x=1"}], "message": f"GET {CANARY}: 403"}
    structure, (log,) = redacted(item, f"worker said {CANARY}")
    assert structure["message"] == f"GET {REMOVED}: 403"
    assert log == f"worker said {REMOVED}"


def test_what_helps_stays() -> None:
    item = {
        "kind": "Deployment",
        "metadata": {"name": "emails-worker", "labels": {"redisqueue.dev/queue": "emails-of-shop"}},
        "env": [
            {"name": "QUEUE", "value": "emails-of-shop"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "login", "key": "token"}}},
        ],
        "terminated": {"exitCode": 137, "reason": "OOMKilled"},
        "annotations": {"redisqueue.dev/config-hash": "abc"},
        "message": "secret emails-redis not found; redis://redis:6379 of emails-of-shop refuses the login",
    }
    structure, _ = redacted(item)
    assert structure["metadata"] == item["metadata"]
    assert structure["env"][1] == item["env"][1]
    assert [structure[name] for name in ("terminated", "annotations", "message")] == [
        item[name] for name in ("terminated", "annotations", "message")
    ]


def test_of_the_operator_its_own_settings_are_told() -> None:
    item = {"env": [{"name": "REDISQUEUE_LOG_LEVEL", "value": "DEBUG"}, {"name": "MINE", "value": CANARY}]}
    (own, other), _ = redacted(item, is_operator=True)[0]["env"], None
    assert (own["value"], other["value"]) == ("DEBUG", REMOVED)
