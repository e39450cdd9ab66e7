"""`make evidence`: what this machine can measure is kept in `results/`, and makes the tables of the pages."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version
from tests.bench import (
    ceilings_report,
    fleet_report,
    from_zero_report,
    hpa_report,
    losses_report,
    report,
    worker_report,
)
from tests.bench.outcome import where
from tests.support import sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.bench.outcome import Results

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results")
DIGITS = 4
"""What is kept of a measurement, which no machine repeats more exactly."""


@dataclass(frozen=True, slots=True)
class Part:
    """A bench, and where its tables are shown."""

    name: str
    module: str
    page: str
    tables: tuple[Callable[[Results], str], ...]
    """Each stands in a section of its own."""
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)
    """In place of `arguments`, in a hurry."""

    @property
    def file(self) -> Path:
        """Where its measurements are kept."""
        return RESULTS / f"{self.name}.json"

    def command(self, *, quick: bool, file: Path) -> list[str]:
        """Measures it, and writes every single measurement to `file`."""
        arguments = self.quick if quick else self.arguments
        return [sys.executable, "-m", self.module, *arguments, "--json", str(file)]

    def sections(self) -> dict[str, str]:
        """What its sections of the page say: a table, and when and on what it was measured."""
        told = json.loads(self.file.read_text())
        texts = [f"{table(told['results'])}\n\n{caption(told['about'])}" for table in self.tables]
        return {f"measured {self.name}" + f" {n}" * (n > 1): text for n, text in enumerate(texts, 1)}

    def store(self, told: Mapping[str, Any]) -> None:
        """Keep it in place of what was measured before, and write its sections of the page."""
        RESULTS.mkdir(exist_ok=True)
        # A line for each measurement, so that versions of the file can be compared.
        results = ",\n ".join(json.dumps(rounded(each), ensure_ascii=False) for each in told["results"])
        self.file.write_text(f'{{"about": {json.dumps(told["about"])},\n"results": [\n {results}\n]}}\n')
        for name, text in self.sections().items():
            sections.write(ROOT / self.page, name, text)


WORKER, OPERATOR = "worker/README.md", "operator/README.md"
PARTS = (
    Part("library", "tests.bench.library", "worker/redis_message_queue/README.md", (report.markdown,)),
    Part("workers", "tests.bench.worker", WORKER, (worker_report.markdown,)),
    Part("losses", "tests.bench.losses", WORKER, (losses_report.markdown,)),
    Part(
        "ceilings",
        "tests.bench.ceilings",
        "worker/docs/how-far-one-queue-goes.md",
        (ceilings_report.growth, ceilings_report.calls),
    ),
    Part("operator", "tests.bench.fleet", OPERATOR, (fleet_report.markdown,)),
    Part("hpa", "tests.bench.hpa", OPERATOR, (hpa_report.markdown,)),
    Part(
        "from-zero", "tests.bench.from_zero", OPERATOR, (from_zero_report.markdown,), quick=("--rounds", "5")
    ),
)


def caption(about: Mapping[str, Any]) -> str:
    """When, with what and on what it was measured."""
    return f"Measured on {about['date']} with version {about['version']}: {where(about)}"


def releases_since(measured: str, released: Iterable[str]) -> int:
    """How many of the released versions are newer than the one that was measured."""
    return sum(Version(each) > Version(measured) for each in released)


def rounded(value: Any) -> Any:
    """The same, with fewer digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def main() -> int:
    """Measure part after part, each kept as soon as it is there; 1 when one could not be measured."""
    names = {part.name: part for part in PARTS}
    parser = argparse.ArgumentParser(prog="python -m tests.bench.evidence", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=list(names), metavar="PART")
    parser.add_argument("--quick", action="store_true", help="as each bench is with --quick")
    parser.add_argument(
        "--take", type=Path, metavar="FILE", help="no measurement: what a bench wrote by --json, with --only"
    )
    options = parser.parse_args()
    if options.take is not None:
        if len(options.only) != 1:
            parser.error("--take FILE is of one part: name it, --only PART")
        names[options.only[0]].store(json.loads(options.take.read_text()))
        return 0
    failed = [name for name in options.only if not _measured(names[name], quick=options.quick)]
    for name in failed:
        print(f"not measured, what is known stays: {name}", file=sys.stderr)
    return 1 if failed else 0


def _measured(part: Part, *, quick: bool) -> bool:
    print(f"=== {part.name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        file = Path(folder) / "told.json"
        if subprocess.run(part.command(quick=quick, file=file), cwd=ROOT, check=False).returncode:
            return False
        part.store(json.loads(file.read_text()))
    return True


if __name__ == "__main__":
    sys.exit(main())
