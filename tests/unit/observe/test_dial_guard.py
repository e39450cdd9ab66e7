"""Where the operator may connect to."""

from __future__ import annotations

import pytest

from redisqueue_operator.observe.redis.dial_guard import AllowedHosts
from redisqueue_operator.options import read_options


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("redis.shop", ["redis.shop", "REDIS.shop"], ["redis", "redis.shop.evil", "xredis.shop"]),
        ("*.shop.svc", ["redis.shop.svc", "a.b.shop.svc"], ["shop.svc", "evilshop.svc", "shop.svc.evil"]),
        ("10.1.0.0/16", ["10.1.255.1"], ["10.2.0.1", "10.1.0.1.evil", "localhost"]),
        ("fd00::/8", ["fd12::1"], ["fe80::1", "10.1.0.1"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.30", "10.1.2.4"]),
    ],
)
def test_a_pattern_allows_what_it_names(pattern: str, yes: list[str], no: list[str]) -> None:
    allowed = AllowedHosts([pattern])
    assert [host for host in (*yes, *no) if allowed.allow(host)] == yes


def test_none_at_all_allows_everything() -> None:
    assert AllowedHosts().allow("anywhere")


def test_a_wrong_network_is_told_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["--allowed-redis-hosts=redis,10.1.2.3/8"])
    assert ended.value.code == 2
    assert "10.1.2.3/8" in capsys.readouterr().err
