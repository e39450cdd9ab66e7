#!/usr/bin/env bash
# kube-apiserver 1.34.4.
#
# A custom resource has a required field of any type (x-kubernetes-preserve-unknown-fields, not nullable), and it is null in
# what is sent. Create and update refuse that: "Required value". One expects of server-side apply that it refuses it too, as
# it refuses a null in a required field that has a type, and a missing one; or that it keeps the null. It answers 201, and
# what is stored has no such field: an object that no create could make. From then on every patch of its spec is refused for
# the field that nobody touched, while a label may be changed.
#
# Seen: create refused; apply answers 201, the field is missing; a patch of another field is refused; a label is written.
set -euo pipefail
cd "$(dirname "$0")/.."
tests/cluster/cluster build >&2
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" - <<'PROGRAM'
import json
import time

from tests.support.api_server import ApiServer, binaries

properties = {"any": {"x-kubernetes-preserve-unknown-fields": True}, "more": {"type": "boolean"}}
spec = {"type": "object", "required": ["any"], "properties": properties}
schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
definition = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    },
}
thing = json.dumps(
    {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"any": None}}
)
with ApiServer(binaries()) as server:
    server.kubectl("create", "-f", "-", stdin=json.dumps(definition))
    while server.kubectl("get", "things")[0] != 0:
        time.sleep(0.5)
    create = server.kubectl("create", "-f", "-", stdin=thing)
    apply = server.kubectl("apply", "--server-side", "-f", "-", stdin=thing)
    stored = json.loads(server.kubectl("get", "thing", "a", "-o", "json")[1])["spec"]
    patch = server.kubectl("patch", "thing", "a", "--type=merge", "--patch", '{"spec":{"more":true}}')
    label = server.kubectl("label", "thing", "a", "b=c")
print(f"create: {create[1].splitlines()[-1]}; apply: {apply[1].strip()}; stored: {stored}; patch: {patch[1].strip()}")
assert (create[0], "spec.any: Required value" in create[1]) == (1, True), "create takes it"
assert apply[0] == 0, "apply refuses it"
assert stored == {}, "the null is kept"
assert (patch[0], "spec.any: Required value" in patch[1]) == (1, True), "another field can be patched"
assert label[0] == 0, "a label is refused"
PROGRAM
