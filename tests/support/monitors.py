"""The kinds of prometheus-operator that the chart makes: their definitions, and values that ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "prometheus_operator"
"""The definitions, and what makes them."""
VALUES = Path(__file__).parents[1] / "golden" / "monitoring.values.yaml"
"""Values of the chart that switch on all of `monitoring`."""
RESOURCES = ("podmonitors", "prometheusrules", "servicemonitors")


def definitions() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions."""
    files = [FOLDER / f"monitoring.coreos.com_{name}.yaml" for name in RESOURCES]
    return [yaml.load(file.read_text(), yaml.CSafeLoader) for file in files]
