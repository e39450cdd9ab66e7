"""TLS connections that expect a certificate for another name than the host they dial."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio


def sync_connection(server_name: str, base: Any = redis.SSLConnection) -> Any:
    """The class `base`, checking the certificate against `server_name` ("" = the host dialled)."""
    if not server_name:
        return base

    class NamedConnection(base):  # type: ignore[misc]
        def _wrap_socket_with_ssl(self, sock: Any) -> Any:
            # redis-py takes the expected name from `host`, and has no argument of its own for it.
            connection: Any = self
            dialled, connection.host = connection.host, server_name
            try:
                return super()._wrap_socket_with_ssl(sock)
            finally:
                connection.host = dialled

    return NamedConnection


def asyncio_connection(server_name: str, base: Any = redis.asyncio.SSLConnection) -> Any:
    """As `sync_connection`, for asyncio."""
    if not server_name:
        return base

    class NamedConnection(base):  # type: ignore[misc]
        def _connection_arguments(self) -> Any:
            return {**super()._connection_arguments(), "server_hostname": server_name}

    return NamedConnection
