"""What the image's build writes down and promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

WORKER = Path(__file__).parents[3] / "worker"


def bill_of_materials() -> str:
    command = [sys.executable, str(WORKER / "sbom.py"), "redisqueue-worker", "1.2.3"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_bill_of_materials_names_what_is_installed() -> None:
    text = bill_of_materials()
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert found["metadata"]["component"]["version"] == "1.2.3"
    libraries = {one["name"]: one for one in found["components"]}
    assert libraries["redis"]["purl"] == f"pkg:pypi/redis@{version('redis')}"
    assert libraries["redis-queue-operator"]["licenses"] == [{"expression": "MIT"}]
    assert libraries["cpython"]["type"] == "platform"
    assert bill_of_materials() == text, "equal images have equal ones"


def test_the_image_runs_as_nobody_in_particular_without_a_shell() -> None:
    last = (WORKER / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)", last, re.MULTILINE)[-1] == "65532:65532"
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", last, re.MULTILINE) == ['["redisqueue-worker"]', '["run"]']
