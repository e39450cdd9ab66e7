"""Tables of measurements are those of the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import hpa_report

if TYPE_CHECKING:
    from tests.golden.conftest import Written

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"


def test_beside_the_horizontal_pod_autoscaler(written: Written) -> None:
    results = json.loads((RESULTS / "hpa.json").read_text())["results"]
    written(ROOT / "operator" / "README.md", "bench-hpa tables", hpa_report.markdown(results))
