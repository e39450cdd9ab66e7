"""Writes what an image holds of Python as a CycloneDX document; run at its build, by the image's interpreter.

Usage: python sbom.py NAME VERSION > sbom.cdx.json
"""

from __future__ import annotations

import json
import platform
import sys
import uuid
from importlib.metadata import Distribution, distributions
from typing import Any


def component(distribution: Distribution) -> dict[str, Any]:
    """One installed distribution."""
    metadata = distribution.metadata
    name, version = metadata["Name"].lower().replace("_", "-"), distribution.version
    purl = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if "License-Expression" not in metadata:
        return found
    return found | {"licenses": [{"expression": metadata["License-Expression"]}]}


def document(name: str, version: str) -> dict[str, Any]:
    """The document; equal images have equal ones, so it tells no time."""
    python = {"type": "platform", "name": "cpython", "version": platform.python_version()}
    libraries = sorted(map(component, distributions()), key=lambda one: one["purl"])
    content = json.dumps([name, version, python, libraries])
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [python, *libraries],
    }


if __name__ == "__main__":
    json.dump(document(*sys.argv[1:3]), sys.stdout, indent=1)
