"""JSON schemas of a cluster's kinds, made of what its API server says of itself; kubeconform applies them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.environments import go_program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.api_server import ApiServer

Schema = dict[str, Any]
PACKAGE = "github.com/yannh/kubeconform/cmd/kubeconform"
_FILE = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json"
_COMPONENTS = "#/components/schemas/"


class Kubeconform:
    """kubeconform, offline, with the schemas of one API server.

    Args:
        program: kubeconform itself.
        folder: where the schemas are put.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder

    def learn(self, server: ApiServer, versions: Iterable[str]) -> None:
        """Write a schema for each kind of these API versions, such as `v1` or `apps/v1`."""
        for version in versions:
            path = f"apis/{version}" if "/" in version else f"api/{version}"
            code, text = server.kubectl("get", "--raw", f"/openapi/v3/{path}")
            assert code == 0, f"{path}: {text}"
            for name, schema in kinds_of(json.loads(text)).items():
                (self._folder / name).write_text(json.dumps(schema))

    def complaints(self, files: Iterable[Path]) -> list[str]:
        """What is wrong with the manifests in these files; a kind without a schema is wrong too."""
        command = [
            self._program,
            "-strict",
            "-output=json",
            f"-schema-location={self._folder}/{_FILE}",
            *files,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.stdout.strip(), done.stderr
        return sorted(
            f"{Path(found['filename']).name}: {found['kind']} {found['name']}: {found['msg']}"
            for found in json.loads(done.stdout)["resources"]
        )


def kubeconform(folder: Path) -> Kubeconform:
    """It, built at the first use. Raises Unavailable."""
    return Kubeconform(go_program("kubeconform", Path(__file__).parent / "kubeconform", PACKAGE), folder)


def kinds_of(document: dict[str, Any]) -> dict[str, Schema]:
    """Schemas by file name, of a document of /openapi/v3."""
    components = document["components"]["schemas"]
    definitions = {name: _strict(schema) for name, schema in components.items()}
    found = {}
    for name, schema in components.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            group = kind["group"] or kind["version"]  # as kubeconform has it for the core group
            file = f"{group}_{kind['version']}_{kind['kind'].lower()}.json"
            found[file] = {"allOf": [{"$ref": f"#/definitions/{name}"}], "definitions": definitions}
    return found


def _strict(schema: Any) -> Any:
    """OpenAPI's words in those of JSON Schema; what an object does not name is not allowed in it."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return {"$ref": "#/definitions/" + str(reference).removeprefix(_COMPONENTS)}
    made: Schema = {name: _strict(part) for name, part in schema.items() if not name.startswith("x-")}
    for name in ("format", "default", "nullable"):
        made.pop(name, None)
    if "properties" in schema:
        made["properties"] = {name: _strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    return made
