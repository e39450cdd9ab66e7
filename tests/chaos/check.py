"""`python -m tests.chaos.check`: is each known fault, put back into library or worker, found out?"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.cluster import REPOSITORY

KNOWN_FAULTS = sorted((Path(__file__).parent / "known_faults").glob("*.patch"))
SEEDS = (1, 2, 3)


def patched(patch: Path | None, folder: Path) -> Path:
    """A copy of library and worker in `folder`, with that fault.

    Raises CalledProcessError where the patch does not fit.
    """
    copy = folder / "worker"
    shutil.copytree(REPOSITORY / "worker", copy, ignore=shutil.ignore_patterns("__pycache__"))
    if patch:
        subprocess.run(["git", "apply", patch], cwd=folder, check=True)
    return copy


def found_out(worker: Path, seed: int) -> str:
    """What the chaos without a cluster says of that library and worker; empty when nothing is wrong."""
    path = f"{worker}:{REPOSITORY}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.local", "--seed", str(seed)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stdout or done.stderr.strip().splitlines()[-1]) if done.returncode else ""


def check(names: list[str]) -> int:
    """Try the faults of these names, or all, and first that nothing is found where there is none."""
    missed = 0
    patches = [patch for patch in KNOWN_FAULTS if not names or patch.stem in names]
    print("| known fault | seed | told |\n|---|---:|---|")
    for patch in (None, *patches):
        with tempfile.TemporaryDirectory() as folder:
            worker = patched(patch, Path(folder))
            told, seed = "", 0
            for seed in SEEDS:
                told = found_out(worker, seed)
                if told or patch is None:
                    break
        if bool(told) != bool(patch):
            missed += 1
        first = told.strip().splitlines()[0][:120] if told else "nothing"
        print(f"| {patch.stem.replace('-', ' ') if patch else 'none'} | {seed} | {first} |", flush=True)
    return missed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="of known faults; all by default")
    sys.exit(1 if check(parser.parse_args().names) else 0)
