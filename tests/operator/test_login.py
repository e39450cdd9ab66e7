"""Who we are to an API server: a pod's service account, as its files say it now."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import yaml
from tests.support.operator_process import Cluster

from redisqueue_operator import kubernetes_api
from redisqueue_operator.kubernetes_api import ApiError, KubernetesApi

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_server import ApiServer

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def who(api: KubernetesApi) -> str:
    answer = await api.request(
        "POST", REVIEW, body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    )
    return str(answer["status"]["userInfo"]["username"])


async def test_a_token_that_rotates_is_used_without_a_new_start(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(api_server)
    for name in ("first", "second"):
        cluster.run("create", "serviceaccount", name, "-n", "default")
    address = urlsplit(api_server.url)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(kubernetes_api, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setattr(kubernetes_api, "TOKEN_SECONDS", 0.0)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    (tmp_path / "ca.crt").write_text(api_server.certificate.read_text())
    token = tmp_path / "token"
    token.write_text(cluster.run("create", "token", "first", "-n", "default"))
    async with KubernetesApi() as api:
        assert await who(api) == "system:serviceaccount:default:first"
        token.write_text(cluster.run("create", "token", "second", "-n", "default"))
        assert await who(api) == "system:serviceaccount:default:second"
        token.unlink()
        assert await who(api) == "system:serviceaccount:default:second", "the last one that could be read"
        forged = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode()
        token.write_text(f"{forged}.{forged}.")
        with pytest.raises(ApiError, match="Unauthorized"):
            await who(api)
    cluster.run("delete", "serviceaccount", "first", "second", "-n", "default")


def test_a_login_command_of_the_kubeconfig_is_run(api_server: ApiServer, tmp_path: Path) -> None:
    cluster = Cluster(api_server)
    cluster.run("create", "serviceaccount", "third", "-n", "default")
    token = cluster.run("create", "token", "third", "-n", "default").strip()
    version = "client.authentication.k8s.io/v1"
    told = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": {"token": token}})
    command = {"apiVersion": version, "command": "echo", "args": [told], "interactiveMode": "Never"}
    kubeconfig = yaml.safe_load(api_server.kubeconfig.read_text())
    kubeconfig["users"][0]["user"] = {"exec": command}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    login = "import asyncio, tests.operator.test_login as own; asyncio.run(own.tell())"
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", login],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    cluster.run("delete", "serviceaccount", "third", "-n", "default")
    assert done.stdout.strip() == "system:serviceaccount:default:third", done.stderr


async def tell() -> None:
    """Print who the API server takes us for."""
    async with KubernetesApi() as api:
        print(await who(api))


async def test_without_a_login_it_says_where_one_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(LookupError, match=r"service account.*\$KUBECONFIG"):
        async with KubernetesApi():
            pass
