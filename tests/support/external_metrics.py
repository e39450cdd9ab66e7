"""External metrics beside a test API server: who answers, and telling the API server of it."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.operator_process import Cluster

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
NAME = f"{VERSION}.{GROUP}"


def register(cluster: Cluster, port: int) -> None:
    """The TLS server on that port of loopback does, whatever its certificate. Waits until it is asked."""
    place = {"name": "external-metrics", "namespace": "default"}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place,
            # A name is the one kind of Service that leads to loopback without a proxy.
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "service": {**place, "port": port},
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
            },
        },
    )
    cluster.run("wait", "--for=condition=Available", f"apiservice/{NAME}", "--timeout=30s")


class ExternalMetrics:
    """Answers with what `value` says of the queue of that name, or with 404 where that is None. On `with`."""

    def __init__(self, folder: Path, value: Callable[[str], float | None]) -> None:
        keys = make_certificates(folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _answering(value))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys.server, keys.server_key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.port = self._server.server_port

    def __enter__(self) -> ExternalMetrics:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _answering(value: Callable[[str], float | None]) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == f"/apis/{GROUP}/{VERSION}":
                kind, about = "APIResourceList", {"groupVersion": f"{GROUP}/{VERSION}", "resources": []}
                self._say({"kind": kind, "apiVersion": "v1", **about})
                return
            selector = parse_qs(url.query).get("labelSelector", [""])[0]
            labels = dict(part.split("=", 1) for part in selector.split(",") if "=" in part)
            found = value(labels.get("name", "")) if "/namespaces/" in url.path else None
            if found is None:
                self.send_error(404)
                return
            name = url.path.rpartition("/")[2]
            item = {"metricName": name, "metricLabels": labels, "timestamp": _now(), "value": f"{found:g}"}
            kind = "ExternalMetricValueList"
            self._say({"kind": kind, "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, "items": [item]})

        def _say(self, about: dict[str, Any]) -> None:
            body = json.dumps(about).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class calls it so)
            """Nobody reads it."""

    return Answers


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
