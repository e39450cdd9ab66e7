"""Where the page is, and for whom: what the operator and local mode are told."""

from __future__ import annotations

import pytest

from redisqueue_operator.cli import main
from redisqueue_operator.options import read_options


def test_it_is_off_and_without_hosts_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    options = read_options([])
    assert (options.page_port, options.page_hosts) == (0, ())
    monkeypatch.setenv("REDISQUEUE_PAGE_PORT", "8081")
    monkeypatch.setenv("REDISQUEUE_PAGE_HOSTS", "b.example.com, a")
    options = read_options([])
    assert (options.page_port, options.page_hosts) == (8081, ("a", "b.example.com"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--page-port=70000"], "--page-port: 70000 must be from 1 to 65535 and not --http-port's"),
        (["--page-port=8080"], "--page-port: 8080 must be"),
        (["--page-port=x"], "argument --page-port: invalid int value: 'x'"),
        (
            ["--page-port=1", "--page-hosts=https://a"],
            "--page-hosts: 'https://a' is no host's name: write it",
        ),
        (["--page-port=1", "--page-hosts=a:80"], "--page-hosts: 'a:80' is no host's name"),
        (["--page-port=1", "--page-hosts=*"], "--page-hosts: '*' is no host's name"),
        (["--page-port=1", "--page-hosts=a,,b"], "--page-hosts: 'a,,b' has an empty name in it"),
        (["--page-hosts=a"], "--page-hosts='a' is for a page that is off: give it a --page-port"),
    ],
)
def test_what_cannot_be_is_told_by_flag_and_value(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--page", "hello.yaml"], ["hello.yaml", "--page=0"], ["f", "--page", "x"]]
)
def test_local_mode_says_how_a_port_is_written(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["local", *words])
    assert ended.value.code == 2
    assert "is no port: write FILE before --page, or --page=8081" in capsys.readouterr().err
