"""A certificate authority for one test run, with a server's and a client's certificate."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """PEM files. The server's certificate is good for `localhost` and `redis`, not for its address."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """Make them with the `openssl` command; they are valid for a day."""
    authority, authority_key = folder / "ca.crt", folder / "ca.key"
    _openssl(
        *("req", "-x509", "-subj", "/CN=test authority", "-days", "1", "-noenc", "-newkey", "ed25519"),
        *("-addext", "keyUsage = critical, keyCertSign, cRLSign"),  # Python 3.13 refuses an authority without
        *("-out", authority, "-keyout", authority_key),
    )
    for name in ("server", "client"):
        extensions = folder / f"{name}.ext"
        extensions.write_text(
            "subjectAltName = DNS:localhost, DNS:redis\n"
            "authorityKeyIdentifier = keyid\nsubjectKeyIdentifier = hash\n"
        )
        request, key = folder / f"{name}.csr", folder / f"{name}.key"
        _openssl(
            *("req", "-new", "-subj", f"/CN={name}", "-noenc", "-newkey", "ed25519"),
            *("-out", request, "-keyout", key),
        )
        _openssl(
            *("x509", "-req", "-in", request, "-days", "1", "-extfile", extensions, "-CAcreateserial"),
            *("-CA", authority, "-CAkey", authority_key, "-out", folder / f"{name}.crt"),
        )
    return Certificates(
        authority, folder / "server.crt", folder / "server.key", folder / "client.crt", folder / "client.key"
    )


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")
