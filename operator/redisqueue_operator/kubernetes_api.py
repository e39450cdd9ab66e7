"""Kubernetes over plain dicts: kopf's login and TLS, aiohttp for transport, JSON for everything else.

The server is the only judge of an object: a client-side model would refuse fields newer than itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import getproxies

import aiohttp
from yarl import URL

from redisqueue_operator.errors import PlatformError
from redisqueue_operator.kopf_alone import kopf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

TIMEOUT_SECONDS = 10.0
WATCH_SECONDS = 300
TOKEN_SECONDS = 60.0
"""A token rotates: it is read again this often."""
PAGE = 500
"""Objects of a list that are read at once: all pods of a large cluster would be gigabytes."""
CONNECTIONS = 100
OVERLOADED = (429, 503, 504)
# A 500 passes, but one for a field that the schema does not know, or for a webhook that is broken.
LASTING_500 = (
    "field not declared in schema",
    "typed patch object",
    "failed calling webhook",
    "admission webhook",
)
RESOLUTION_SECONDS = 2.0
"""Of the API server's clock as we know it: answers are dated in seconds, and take a while to arrive."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Object = dict[str, Any]


class ApiError(PlatformError):
    """The API server refused a request. `status` is the HTTP status, `reason` its CamelCase word.

    `retry_after_seconds` is how long it wants to be left alone; 0 where it does not say.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        stumbled = status >= 500 and not any(text in message for text in LASTING_500)
        self.passing = status in OVERLOADED or stumbled


def passes(error: Exception) -> bool:
    """Whether the same question may be answered in a moment: the API server is away, busy, or stumbled."""
    return error.passing if isinstance(error, ApiError) else isinstance(error, (OSError, TimeoutError))


class KubernetesApi:
    """One connection pool to one API server; an async context manager. Raises LookupError without a login.

    `answered` is told the verb and status of each call, 0 where no answer came.
    """

    def __init__(self, answered: Callable[[str, int], None] | None = None) -> None:
        self._session: aiohttp.ClientSession
        self._watcher: aiohttp.ClientSession
        self._server = ""
        self._authorization: Mapping[str, str] = {}
        self._authorized_at = 0.0
        self._answered = answered or (lambda _verb, _code: None)
        self._server_clock = ServerClock()

    async def __aenter__(self) -> KubernetesApi:
        info = credentials(settings=kopf.OperatorSettings())
        if info is None:
            raise LookupError("neither a service account nor $KUBECONFIG says where the API server is")
        self._server = info.server.rstrip("/")
        self._authorization, self._authorized_at = info.as_http_headers(), time.monotonic()
        self._session = session(info)
        # A watch keeps its connection: in the pool of the calls, many of them would leave none for the Lease.
        self._watcher = session(info, connections=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._watcher.close()

    def _headers(self) -> Mapping[str, str]:
        """Who we are, as it was read in the last minute or could be read last."""
        if time.monotonic() - self._authorized_at > TOKEN_SECONDS:
            with contextlib.suppress(OSError):
                if (info := credentials(settings=kopf.OperatorSettings())) is not None:
                    self._authorization = info.as_http_headers()
            self._authorized_at = time.monotonic()
        return self._authorization

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return URL(self._server + path + (f"?{urlencode(query)}" if query else ""), encoded=True)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        timeout_seconds: float = TIMEOUT_SECONDS,
        accept: str = "application/json",
    ) -> Object:
        """One call. Raises ApiError for an answer >= 400, ConnectionError or TimeoutError without one."""
        try:
            async with self._session.request(
                method,
                self._url(path, query or {}),
                headers={**self._headers(), "Accept": accept, "Content-Type": content_type},
                data=None if body is None else json.dumps(body),
                timeout=aiohttp.ClientTimeout(timeout_seconds),
            ) as response:
                data = await response.read()
        except TimeoutError:
            self._answered(method, 0)
            raise
        except aiohttp.ClientError as error:
            self._answered(method, 0)
            raise ConnectionError(f"{method} {path}: {type(error).__name__}: {error}") from error
        self._answered(method, response.status)
        self._server_clock.told(response.headers.get("Date", ""))
        if response.status >= 400:
            raise _refused(response, data)
        return _decoded(data)

    def now(self) -> float:
        """Seconds since the epoch by the API server's clock, which dates all objects."""
        return self._server_clock.now()

    async def get(self, path: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self.request("GET", path, timeout_seconds=timeout_seconds)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def pages(
        self, path: str, selector: str = "", *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[Object], int]]:
        """All objects, some hundred at a time, each time with the resourceVersion of the list."""
        accept = METADATA_LIST if metadata_only else "application/json"
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self.request("GET", path, query=query, timeout_seconds=60.0, accept=accept)
            yield page.get("items") or [], int(page["metadata"]["resourceVersion"])
            if not (token := page["metadata"].get("continue")):
                return
            query["continue"] = token

    async def list(self, path: str, selector: str = "") -> tuple[list[Object], int]:
        """All objects of a kind of which there are few, and the resourceVersion of the list."""
        found: list[Object] = []
        version = 0
        async for items, listed_at in self.pages(path, selector):
            found += items
            version = listed_at
        return found, version

    async def watch(self, path: str, version: int) -> AsyncIterator[Object]:
        """Events of a collection after that resourceVersion, for some minutes.

        Raises ApiError, of status 410 when that version is history, ConnectionError or TimeoutError.
        """
        query = {"watch": "1", "resourceVersion": str(version), "timeoutSeconds": str(WATCH_SECONDS)}
        limit = aiohttp.ClientTimeout(WATCH_SECONDS + TIMEOUT_SECONDS)
        try:
            async with self._watcher.get(
                self._url(path, query), headers=self._headers(), timeout=limit
            ) as response:
                self._answered("WATCH", response.status)
                if response.status >= 400:
                    raise _refused(response, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for event in map(json.loads, lines):
                        if event["type"] == "ERROR":
                            status = event["object"]
                            raise ApiError(int(status["code"]), status["reason"], status["message"])
                        yield event
        except aiohttp.ClientError as error:
            raise ConnectionError(f"watch of {path}: {type(error).__name__}: {error}") from error

    async def apply(self, path: str, manifest: Object, manager: str, *, dry_run: bool = False) -> Object:
        """Server-side apply; unknown fields are refused, not dropped. A dry run tells what would be."""
        query = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        return await self.request("PATCH", path, query=query, body=manifest, content_type=APPLY)

    async def merge(self, path: str, patch: Object, manager: str) -> Object:
        """JSON merge-patch."""
        return await self.request(
            "PATCH", path, query={"fieldManager": manager}, body=patch, content_type=MERGE
        )


def credentials(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """The pod's service account, when it has one, else $KUBECONFIG; None without either."""
    token = SERVICE_ACCOUNT / "token"
    if not token.exists():
        return _kubeconfig(**kwargs)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return kopf.ConnectionInfo(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_path=str(SERVICE_ACCOUNT / "ca.crt"),
        token=token.read_text().strip(),
    )


def _kubeconfig(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """What the file says; a login command there, as clouds write it, is run by the Kubernetes client."""
    info = kopf.login_with_kubeconfig(**kwargs)
    if info is None or info.token or info.username or info.certificate_path or info.certificate_data:
        return info
    told = kopf.login_via_client(**{"logger": logging.getLogger(__name__), **kwargs})
    # The client takes the environment's proxies for the file's, without NO_PROXY.
    return told and dataclasses.replace(told, proxy_url=info.proxy_url)


def session(
    info: kopf.ConnectionInfo,
    *,
    connections: int = CONNECTIONS,
    headers: Mapping[str, str] | None = None,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
) -> aiohttp.ClientSession:
    """Connections to that API server, at most so many at once; 0 for no limit."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ssl=info.as_ssl_context()),
        headers={"User-Agent": "redisqueue-operator", **(headers or {})},
        proxy=info.proxy_url,
        # The environment is asked for proxies alone: else a thread would search ~/.netrc before each request.
        trust_env=bool(getproxies()),
        middlewares=middlewares,
    )


class ServerClock:
    """The API server's clock, as its answers tell it; ours until the first one.

    Ages of objects and deadlines are reckoned by it, so that a clock of this machine that is wrong, or
    jumps, changes no decision.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._ahead = wall() - clock()

    def told(self, date: str) -> None:
        """The Date header of an answer just received: whole seconds, so the latest one of them is right."""
        try:
            ahead = _epoch(date) - self._clock()
        except ValueError:
            return
        if not 0 <= self._ahead - ahead < RESOLUTION_SECONDS:
            self._ahead = ahead

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock() + self._ahead


@lru_cache(maxsize=8)
def _epoch(date: str) -> float:
    """Of a second in which there may be hundreds of answers. Raises ValueError."""
    return parsedate_to_datetime(date).timestamp()


def _seconds(text: str) -> float:
    """The value of Retry-After, which may also be a date: that is not understood."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _refused(response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    answer = _decoded(data)
    reason, text = answer.get("reason") or "Unknown", answer.get("message") or str(data[:300])
    return ApiError(response.status, reason, text, _seconds(response.headers.get("Retry-After", "")))


def _decoded(data: bytes) -> Object:
    try:
        answer = json.loads(data)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
