"""`spec.redis` and the Secrets it names → how the operator connects."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tempfile
import weakref
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, Protocol

from redis_message_queue.connection import ConnectionSettings
from redisqueue_operator.api.model import Auth, Key, RedisQueue
from redisqueue_operator.errors import SettingsUnavailable

if TYPE_CHECKING:
    from redisqueue_operator.api.model import Redis, Tls
    from redisqueue_operator.kubernetes_api import Object
    from redisqueue_operator.observe.redis.dial_guard import AllowedHosts

CLIENT_NAME = "redisqueue-operator"


class ReadsReferences(Protocol):
    """Finds what a spec names, as `References` does in a cluster."""

    async def secret(self, key: Key, *, fresh: bool = False) -> Object:
        """Raises SettingsUnavailable where there is none."""
        ...

    async def config_map(self, key: Key) -> Object | None:
        """None where there is none."""
        ...


class Connections:
    """Builds connection settings.

    Args:
        references: where Secrets and ConfigMaps come from.
        folder: a private, writable folder for TLS files (the TLS library reads files only).
        allowed_hosts: where the operator may connect to; here it is told early, the dial is checked too.
    """

    def __init__(self, references: ReadsReferences, folder: Path, allowed_hosts: AllowedHosts) -> None:
        self._references = references
        self._folder = folder
        self._allowed_hosts = allowed_hosts
        self._files: weakref.WeakValueDictionary[bytes, _HeldFile] = weakref.WeakValueDictionary()

    async def settings(self, rq: RedisQueue, *, fresh: bool = False) -> ConnectionSettings:
        """Raises SettingsUnavailable or ValueError, both without a credential in the text."""
        return await self.settings_of(rq.spec.redis, rq.key.namespace, fresh=fresh)

    async def settings_of(self, redis: Redis, namespace: str, *, fresh: bool = False) -> ConnectionSettings:
        """The same for any `spec.redis`, whose Secrets and host names are of that namespace."""
        url = redis.url
        if redis.url_from is not None:
            ref = redis.url_from.secret_key_ref
            url = value_of(await self._references.secret(Key(namespace, ref.name), fresh=fresh), ref.key)
            _refuse_options(url, f"key {ref.key!r} of Secret {ref.name!r}")
        if not url:
            raise SettingsUnavailable("UrlMissing", "spec.redis: set url or urlFrom")
        username, password = await self._login(redis.auth, namespace, fresh)
        fields: dict[str, Any] = {}
        if redis.sentinel is not None:
            sentinel_username, sentinel_password = await self._login(redis.sentinel.auth, namespace, fresh)
            fields |= {
                "sentinel_master": redis.sentinel.master_name,
                "sentinel_addresses": redis.sentinel.addresses,
                "sentinel_username": sentinel_username,
                "sentinel_password": sentinel_password,
            }
        if redis.tls is not None:
            fields |= await self._tls(redis.tls, namespace, fresh)
        settings = ConnectionSettings(
            url=url,
            mode=redis.mode,
            database=redis.database,
            username=username,
            password=password,
            client_name=CLIENT_NAME,
            # As the workers' pods have it: a Service beside them. Ours would be another's of the same name.
            host_domain=f"{namespace}.svc",
            **fields,
        )
        self._check_hosts(settings)
        return settings

    async def _login(self, auth: Auth | None, namespace: str, fresh: bool) -> tuple[str | None, str | None]:
        if auth is None:
            return None, None
        ref = auth.secret_ref
        secret = await self._references.secret(Key(namespace, ref.name), fresh=fresh)
        username = value_of(secret, ref.username_key) if ref.username_key else None
        return username, value_of(secret, ref.password_key)

    async def _tls(self, tls: Tls, namespace: str, fresh: bool) -> dict[str, Any]:
        fields: dict[str, Any] = {"tls_server_name": tls.server_name or ""}
        if tls.ca_from is not None and (ref := tls.ca_from.secret_key_ref) is not None:
            secret = await self._references.secret(Key(namespace, ref.name), fresh=fresh)
            fields["tls_ca_file"] = self._file(value_of(secret, ref.key))
        elif tls.ca_from is not None and (ref := tls.ca_from.config_map_key_ref) is not None:
            found = await self._references.config_map(Key(namespace, ref.name))
            if found is None:
                text = f"ConfigMap {ref.name!r} does not exist in {namespace}"
                raise SettingsUnavailable("ConfigMapMissing", text)
            fields["tls_ca_file"] = self._file(value_of(found, ref.key, secret=False))
        if tls.cert_from is not None:
            cert = tls.cert_from.secret_ref
            secret = await self._references.secret(Key(namespace, cert.name), fresh=fresh)
            fields["tls_cert_file"] = self._file(value_of(secret, cert.cert_key))
            fields["tls_key_file"] = self._file(value_of(secret, cert.key_key))
        return fields

    def _file(self, content: str) -> Path:
        """A file with this content, readable by us alone; the same one as long as it is there.

        Settings of equal content stay equal so. It goes with the last settings that name it: keys are
        rotated, and queues come and go.
        """
        digest = hashlib.sha256(content.encode()).digest()
        if (path := self._files.get(digest)) is None:
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            path = _HeldFile(name)
            weakref.finalize(path, Path(name).unlink, missing_ok=True)
            with os.fdopen(descriptor, "w") as out:
                out.write(content)
            self._files[digest] = path
        return path

    def _check_hosts(self, settings: ConnectionSettings) -> None:
        for host in settings.hosts or ("",):
            if not self._allowed_hosts.allow(host):
                text = f"host {host!r} is not among the allowed Redis hosts of this operator"
                raise SettingsUnavailable("HostNotAllowed", text)


class _HeldFile(PosixPath):
    """A path that tells when nobody holds it any more, which those of the standard library do not."""


def _refuse_options(url: str, place: str) -> None:
    """Refuse what the CRD refuses in `spec.redis.url`: a tenant's timeouts are not the operator's."""
    if "?" in url or "#" in url:
        text = (
            f"{place} must not carry options after '?' or '#': use the fields database, auth and tls of "
            "spec.redis instead; in a password, write ? as %3F and # as %23"
        )
        raise SettingsUnavailable("SecretInvalid", text)


def value_of(obj: Object, name: str, *, secret: bool = True) -> str:
    """One key of a Secret or ConfigMap as text. Raises SettingsUnavailable."""
    kind = "Secret" if secret else "ConfigMap"
    raw = (obj.get("data") or {}).get(name)
    if raw is None:
        known = ", ".join(sorted(obj.get("data") or {})) or "none"
        text = f"{kind} {obj['metadata']['name']!r} has no key {name!r} (its keys: {known})"
        raise SettingsUnavailable("SecretKeyMissing" if secret else "ConfigMapKeyMissing", text)
    if not secret:
        return str(raw)
    try:
        return base64.b64decode(raw, validate=True).decode().strip("\r\n")
    except (binascii.Error, UnicodeDecodeError) as error:
        text = f"key {name!r} of Secret {obj['metadata']['name']!r} is not UTF-8 text"
        raise SettingsUnavailable("SecretInvalid", text) from error
