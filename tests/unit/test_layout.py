"""What the folders promise to whoever enters them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("operator", "worker", "crds", "helm", "tests")


def test_the_folder_operator_does_not_shadow_the_standard_library() -> None:
    """With the repository's root first on sys.path, as `python -c` has it."""
    code = "import operator, redis_message_queue; print(operator.__file__, redis_message_queue.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    of_python, of_the_library = map(Path, done.stdout.split())
    assert of_python == Path(sysconfig.get_paths()["stdlib"]) / "operator.py"
    assert of_the_library == ROOT / "worker" / "redis_message_queue" / "__init__.py"


@pytest.mark.parametrize("folder", ["bench", "bench/programs", "support"])
def test_no_neighbour_of_a_script_shadows_the_standard_library(folder: str) -> None:
    """What is run as a file looks into its own folder first: an `operator.py` there would end it at once."""
    stems = {path.stem for path in (ROOT / "tests" / folder).glob("*.py")}
    assert stems
    assert not stems & sys.stdlib_module_names


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_top_folder_has_a_page_that_names_what_lies_in_it(folder: str) -> None:
    page = (ROOT / folder / "README.md").read_text()
    packages = [path.name for path in (ROOT / folder).iterdir() if path.is_dir() and "_" not in path.name[:1]]
    missing = [name for name in packages if name not in page and not name.startswith(".")]
    assert not missing, f"{folder}/README.md does not name {missing}"


def test_the_core_of_the_operator_needs_neither_kopf_nor_kubernetes() -> None:
    code = (
        "import sys, redisqueue_operator.loop.reconcile, redisqueue_operator.local.platform; "
        "print([name for name in ('kopf', 'kubernetes') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
