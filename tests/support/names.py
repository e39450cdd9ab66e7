"""A name service of a test's own, for the host names that a cluster's would know."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


class Names:
    """Leads the `known` names to addresses of this machine; other names, but `localhost`, are known to none.

    `asked` are the names that were asked for.
    """

    def __init__(self, patch: pytest.MonkeyPatch, **known: str) -> None:
        self.known: dict[str, str] = known
        self.asked: set[str] = set()
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name[:1].isdigit() or name == "localhost":
            return self._real(host, *args, **options)
        self.asked.add(name)
        if name not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._real(self.known[name], *args, **options)
