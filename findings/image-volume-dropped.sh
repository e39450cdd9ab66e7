#!/usr/bin/env bash
# kube-apiserver 1.34.4 (and 1.31 to 1.33), with its feature gates as they come.
#
# A volume of type image is in the schema, and its feature gate is off. With fieldValidation=Strict one expects a refusal, a
# warning, or at least a pod without a source for one of its volumes, which validation refuses. There is none: the server
# removes the volume and every mount of it, answers 201 and no Warning header, and starts the container without its files.
# `kubectl apply --validate=strict` says "created". Who must know asks by a dry run and compares the answer.
#
# Seen: 201, no warning, no volume, no mount.
set -euo pipefail
cd "$(dirname "$0")/.."
KUBERNETES=1.34 tests/cluster/cluster build >&2
KUBERNETES=1.34 PYTHONPATH=. "${PYTHON:-.venv/bin/python}" - <<'PROGRAM'
import json

from tests.support.api_server import ApiServer, binaries

container = {"name": "a", "image": "a", "volumeMounts": [{"name": "files", "mountPath": "/files"}]}
volume = {"name": "files", "image": {"reference": "registry.example.com/files:1"}}
deployment = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "selector": {"matchLabels": {"a": "a"}},
        "template": {"metadata": {"labels": {"a": "a"}}, "spec": {"containers": [container], "volumes": [volume]}},
    },
}
with ApiServer(binaries()) as server:
    code, said = server.kubectl("apply", "--validate=strict", "-f", "-", stdin=json.dumps(deployment))
    assert (code, said) == (0, "deployment.apps/a created\n"), f"it is refused, or warned of: {said}"
    _, text = server.kubectl("get", "deployment", "a", "-o", "json")
pod = json.loads(text)["spec"]["template"]["spec"]
volumes, mounts = pod.get("volumes"), pod["containers"][0].get("volumeMounts")
print(f"{said.strip()}; volumes: {volumes}, mounts: {mounts}")
assert volumes is None, "the volume is there"
assert mounts is None, "the mount is there"
PROGRAM
