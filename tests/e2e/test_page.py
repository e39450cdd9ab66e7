"""The page on a real cluster: through a port-forward, as its document says, and not otherwise."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from tests.support.story import Story

PORT = 8081


def test_page_by_port_forward(story: Story) -> None:
    story.apply(scaling={"minReplicas": 1})
    with story.cluster.forwarded(story.namespace, "deployment/redisqueue-operator", PORT) as url:

        def page(path: str = "") -> str:
            with urllib.request.urlopen(f"{url}/{path}", timeout=20) as answer:
                return str(answer.read().decode())

        own = f"queues/{story.namespace}/{story.name}"
        wait_until(lambda: own in page(), 60, "the queue is on the page")
        wait_until(lambda: "1 workers wanted, 1 ready" in page(own), 60, "and its worker")
        assert "0 → 1" in page(own)
    # Not at the pod's own address, where everybody in the cluster would reach it.
    probe = (
        "import socket,os\n"
        f"print(socket.socket().connect_ex((socket.gethostbyname(socket.gethostname()), {PORT})))"
    )
    said = story.cluster.kubectl(
        *("-n", story.namespace, "exec", "deployment/redisqueue-operator", "--", "python", "-c", probe)
    )
    assert int(said) == 111, "connection refused"
