"""What is no HTTP is answered, and is no matter of the operator's log."""

from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import CollectorRegistry
from tests.support.page_history import Told

from redisqueue_operator.serve.http import HealthServer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
    ],
    ids=["header", "path", "tls"],
)
@pytest.mark.parametrize("which", ["page", "health"])
async def test_what_is_no_http_is_refused_and_not_logged(
    which: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    health = HealthServer(0, live=str, ready=str, explain=lambda *_: None, registry=CollectorRegistry())
    with caplog.at_level(logging.WARNING):
        async with Told().served() if which == "page" else health as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
            writer.write(sent)
            answer = await reader.readline()
            writer.close()
    assert answer.split()[1] == b"400"
    assert caplog.records == []


async def test_a_fault_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise RuntimeError("a fault")

    server = HealthServer(0, live=broken, ready=str, explain=lambda *_: None, registry=CollectorRegistry())
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.bound_port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await reader.readline()
        writer.close()
    assert answer.split()[1] == b"500"
    assert "RuntimeError: a fault" in caplog.text
