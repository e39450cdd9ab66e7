"""The page on a real cluster: through a port-forward, as its document says, and not otherwise."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from typing import TYPE_CHECKING

from tests.support.cluster import wait_until

if TYPE_CHECKING:
    from tests.support.story import Story

PORT = 8081


def test_page_by_port_forward(story: Story) -> None:
    story.apply(scaling={"minReplicas": 1})
    words = ("kubectl", "-n", story.namespace, "port-forward", "deployment/redisqueue-operator", f":{PORT}")
    environment = story.cluster.environment
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())
            assert found is not None

            def page(path: str = "") -> str:
                with urllib.request.urlopen(f"http://localhost:{found[1]}/{path}", timeout=20) as answer:
                    return str(answer.read().decode())

            wait_until(
                lambda: f"queues/{story.namespace}/{story.name}" in page(), 60, "the queue is on the page"
            )
            own = f"queues/{story.namespace}/{story.name}"
            wait_until(lambda: "1 workers wanted, 1 ready" in page(own), 60, "and its worker")
            assert "0 → 1" in page(own)
        finally:
            forward.terminate()
    # Not at the pod's own address, where everybody in the cluster would reach it.
    probe = (
        "import socket,os\n"
        f"print(socket.socket().connect_ex((socket.gethostbyname(socket.gethostname()), {PORT})))"
    )
    said = story.cluster.kubectl(
        *("-n", story.namespace, "exec", "deployment/redisqueue-operator", "--", "python", "-c", probe)
    )
    assert int(said) == 111, "connection refused"
