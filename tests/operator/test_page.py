"""The page of real operators: who leads has it, who stands by says who does, and it tells no secret."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import redis
from tests.support.operator_process import Cluster, OperatorProcess, until

from redisqueue_worker.embedded_redis import EmbeddedRedis, free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

NAMESPACE, PASSWORD = "pages", "canary-7d1f"


class Served(OperatorProcess):
    """An operator with a page."""

    def __init__(self, server: ApiServer, folder: Path, name: str) -> None:
        self.page_port = free_port()
        flags = (f"--namespace={NAMESPACE}", f"--pod-name={name}", f"--watch-namespaces={NAMESPACE}")
        super().__init__(server, folder / name, *flags, f"--page-port={self.page_port}")

    def page(self, path: str = "/", host: str = "localhost") -> tuple[int, str]:
        """Status and text."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.page_port}{path}", headers={"Host": f"{host}:{self.page_port}"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            return int(error.code), error.read().decode()


def test_the_leader_shows_what_it_serves_and_the_standby_says_who_leads(
    api_server: ApiServer, tmp_path: Path
) -> None:
    cluster = Cluster(api_server)
    cluster.install()
    for namespace in (NAMESPACE, "elsewhere"):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    secret = {"metadata": {"name": "login", "namespace": NAMESPACE}, "stringData": {"password": PASSWORD}}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", **secret})
    with EmbeddedRedis() as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", PASSWORD)
        login = {"auth": {"secretRef": {"name": "login"}}}
        for namespace, name in ((NAMESPACE, "mails"), ("elsewhere", "unserved")):
            spec = {"redis": {"url": server.url, **login}, "worker": {"handler": "app:handle"}}
            metadata = {"name": name, "namespace": namespace}
            kind = {"apiVersion": "redisqueue.dev/v1alpha1", "kind": "RedisQueue"}
            cluster.apply({**kind, "metadata": metadata, "spec": spec})
        with Served(api_server, tmp_path, "one") as one:
            until(lambda: 'href="queues/pages/mails"' in one.page()[1], "the queue is on the page")
            path = "/queues/pages/mails"
            until(lambda: "0 pending, 0 in flight" in one.page(path)[1], "and with what was decided")
            for text in (one.page()[1], one.page(path)[1]):
                assert PASSWORD not in text
                assert "unserved" not in text
            assert one.page(host="evil.example")[0] == 421
            with Served(api_server, tmp_path, "two") as two:
                says = f"one leads and has the page: kubectl port-forward -n {NAMESPACE} pod/one"
                until(lambda: says in two.page()[1], "the standby says who has it")
                assert two.page()[0] == 503
                assert one.stop() == 0
                until(lambda: two.page(path)[0] == 200, "the other one has it now")
            cluster.run("delete", "rq", "mails", "-n", NAMESPACE)


def test_without_a_port_there_is_no_page_and_nothing_is_kept(api_server: ApiServer, tmp_path: Path) -> None:
    probe = (
        "import atexit\n"
        "atexit.register(lambda: print('page:', sorted(m for m in sys.modules if 'serve.page' in m)))\n"
    )
    with OperatorProcess(api_server, tmp_path / "log", "--watch-namespaces=pages", before=probe) as operator:
        assert operator.stop() == 0
    log = (tmp_path / "log").read_text()
    assert "serving the page" not in log
    assert "page: ['redisqueue_operator.serve.page', 'redisqueue_operator.serve.page.history']" in log
