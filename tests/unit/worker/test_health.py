"""Pulses, probes and JSON log lines."""

from __future__ import annotations

import errno
import json
import logging
import re
import socket
import sys
import urllib.error
import urllib.request
from functools import partial
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from redisqueue_worker.health import HealthServer, Pulse, listening, stalled
from redisqueue_worker.logs import JsonFormatter, TextFormatter
from redisqueue_worker.metrics import Metrics
from redisqueue_worker.metrics_page import Page


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_is_stalled_after_fifteen_seconds_without_a_beat() -> None:
    clock = Clock()
    pulses = {"a": Pulse(clock), "b": Pulse(clock)}
    clock.now = 14
    pulses["a"].beat()
    clock.now = 16
    assert stalled(pulses) == ["b"]
    pulses["b"].beat()
    assert stalled(pulses) == []


def test_waiting_for_redis_is_not_a_stall_but_has_an_end() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.away():
        clock.now = 60
        assert pulse.late_seconds == 0
        clock.now = 121
        assert pulse.late_seconds == 1
    assert pulse.late_seconds == 0
    clock.now = 137
    assert pulse.late_seconds == 1


def status(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_say_what_they_are_told() -> None:
    late: list[str] = []
    ready = False
    metrics = Metrics()
    metrics.outcomes["done"] += 1
    page = partial(Page, metrics, CollectorRegistry())
    server = HealthServer("127.0.0.1", 0, live=lambda: late, ready=lambda: ready, page=page)
    try:
        base = f"http://127.0.0.1:{server.port}"
        assert status(f"{base}/readyz") == (503, "not started, or draining\n")
        ready = True
        assert status(f"{base}/readyz?verbose") == (200, "ok\n")
        assert status(f"{base}/livez")[0] == 200
        late.append("consumer loop")
        assert status(f"{base}/livez") == (503, "stalled: consumer loop\n")
        assert 'redisqueue_worker_messages_total{outcome="done"} 1.0' in status(f"{base}/metrics")[1]
        assert status(f"{base}/nothing")[0] == 404
    finally:
        server.close()


def test_a_log_line_is_one_json_object() -> None:
    try:
        raise ValueError("no\nway")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed %s", ("é",), sys.exc_info())
    record.message_id = "7"
    record.of_nothing = None
    plain = TextFormatter().format(record)
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} error   failed é message_id=7\nTraceback ", plain)
    assert plain.endswith("ValueError: no\nway")
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["message_id"]) == ("error", "failed é", "7")
    assert line["time"].endswith("+00:00")
    assert line["traceback"].endswith("ValueError: no\nway\n")


@pytest.mark.parametrize("host", ["", "::"])
def test_by_default_both_families_are_listened_to(host: str) -> None:
    with listening(host, 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 5).close()
        if socket.has_dualstack_ipv6():
            socket.create_connection(("::1", port), 5).close()
        with pytest.raises(OSError, match="in use"):
            listening(host, port)


@pytest.mark.parametrize("missing", ["family", "addresses"])
def test_a_machine_without_ipv6_is_listened_to_all_the_same(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    make = socket.create_server

    def refused(address: Any, **options: Any) -> socket.socket:
        if options.get("family") == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no interface has IPv6")
        return make(address, **options)

    if missing == "family":
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    else:
        monkeypatch.setattr(socket, "create_server", refused)
    with listening("", 0) as listener:
        assert listener.family == socket.AF_INET
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 5).close()
