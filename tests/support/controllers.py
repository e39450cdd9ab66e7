"""kube-controller-manager beside a test API server, with those of its controllers that a test is about."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

PROGRAM = "kube-controller-manager"
NAMES = ("garbage-collector-controller", "deployment-controller", "replicaset-controller")
AUTOSCALER = "horizontal-pod-autoscaler-controller"


class Controllers:
    """Run from `with` to its end. Kinds defined before are known from the first moment on."""

    def __init__(self, server: ApiServer, log: Path, *flags: str, names: tuple[str, ...] = NAMES) -> None:
        self._command = [
            server.folder / PROGRAM,
            f"--kubeconfig={server.kubeconfig}",
            f"--controllers={','.join(names)}",
            "--leader-elect=false",
            "--secure-port=0",
            *flags,
        ]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Controllers:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()  # it has nothing to lose
        self._process.wait()
