"""Which RedisQueues an operator serves, and wrong options of that."""

from __future__ import annotations

import pytest

from redisqueue_operator.observe.cache import DEPLOYMENTS, MANAGED, REDISQUEUES
from redisqueue_operator.options import read_options
from redisqueue_operator.scope import Scope


@pytest.mark.parametrize(
    "selector",
    [
        "",
        "shard",
        "!shard",
        "shard=a",
        "shard==a",
        "shard!=a",
        "shard=",
        "shard in (a)",
        "example.com/shard notin (a, b),tier=x,!legacy",
        " shard = a , tier ",
    ],
)
def test_selectors(selector: str) -> None:
    scope = Scope(selector=selector)
    assert scope.selector_of(REDISQUEUES) == selector
    assert scope.selector_of(DEPLOYMENTS) == MANAGED


@pytest.mark.parametrize(
    ("selector", "rest"),
    [
        ("shard:a", "shard:a"),
        ("shard=a,", "shard=a,"),
        ("a=b c=d", "a=b c=d"),
        ("shard in a", "shard in a"),
        ("a,shard in (a", "shard in (a"),
        ("-a", "-a"),
        ("=a", "=a"),
    ],
)
def test_what_is_no_selector_is_told_with_its_place(selector: str, rest: str) -> None:
    with pytest.raises(ValueError, match="write it as for kubectl -l") as caught:
        Scope(selector=selector)
    assert f"wrong from {rest!r} on" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--watch-selector=shard:a", "--lease-name=a"], ["--watch-selector", "'shard:a'"]),
        (["--watch-selector=shard=a"], ["'shard=a'", "--lease-name"]),
        (["--watch-namespaces=,"], ["--watch-namespaces", "','", "empty name"]),
        (["--watch-namespaces=shop, ,mail"], ["--watch-namespaces", "empty name"]),
        (["--watch-namespaces= "], ["--watch-namespaces", "empty name"]),
        (["--watch-namespaces=shop,Mail"], ["--watch-namespaces", "'Mail'"]),
        (["--watch-namespaces=*"], ["--watch-namespaces", "'*'"]),
        (["--worker-image-pull-secrets=login,"], ["--worker-image-pull-secrets", "'' is no Secret's name"]),
        (["--worker-image-pull-secrets=My_login"], ["--worker-image-pull-secrets", "'My_login'"]),
        (["--allowed-redis-hosts=,"], ["--allowed-redis-hosts", "empty name"]),
    ],
)
def test_wrong_options(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        read_options(arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def test_options_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISQUEUE_WATCH_SELECTOR", "shard=a")
    monkeypatch.setenv("REDISQUEUE_WATCH_NAMESPACES", "shop,mail")
    monkeypatch.setenv("REDISQUEUE_LEASE_NAME", "shard-a")
    options = read_options([])
    assert (options.scope, options.lease_name) == (Scope(("mail", "shop"), "shard=a"), "shard-a")
    assert options.worker_pull_secrets == ()
    monkeypatch.setenv("REDISQUEUE_WORKER_IMAGE_PULL_SECRETS", "login, mirror.login")
    assert read_options([]).worker_pull_secrets == ("login", "mirror.login")
