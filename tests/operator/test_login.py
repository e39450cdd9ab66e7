"""Who we are to an API server: a pod's service account, as its files say it now."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
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


async def test_without_a_login_it_says_where_one_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(LookupError, match=r"service account.*\$KUBECONFIG"):
        async with KubernetesApi():
            pass
