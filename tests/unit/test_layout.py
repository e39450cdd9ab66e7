"""What the folders promise to whoever enters them."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import sysconfig
from graphlib import TopologicalSorter
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


LIBRARY, WORKER = ROOT / "worker" / "redis_message_queue", ROOT / "worker" / "redisqueue_worker"
OPERATOR = ROOT / "operator" / "redisqueue_operator"
PACKAGES = (LIBRARY, WORKER, OPERATOR)
EFFECTS = {"asyncio", "redis", "redis_message_queue", "kopf", "aiohttp", "kubernetes", "time", "random", "os"}
LONG: dict[str, str] = {}
"""Modules of more than 400 lines, with their reasons."""
# Names that once stood in library and worker for what has a word in this field.
FORMER_MODULES = (
    "_activity _chosen _clients _cluster _core _effects _line _observer _payload _pending_claims"
    " _queue_options _redrive _repair _sample _schedule _sentinel _server_facts _shield _spent _tls _waiting"
    " _watch sample claimer flights outcomes pace patience pipe policy stamps waiter watch"
)
FORMER_CLASSES = (
    "Activity Flight Flights InHand LeasedClaim Line Observer Pace PendingClaims Schedule SpentRecords Stamp"
    " Waiter Waiters Watch Work"
)
FORMER_WORDS_OF_SCRIPTS = "L distinct held held_by holds looks plain rare told words"


def modules(folder: Path) -> dict[str, Path]:
    """All modules below a package's folder, by their dotted names."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, *, types: bool = False) -> set[str]:
    """What a module imports when it runs, also late; what only its types need is left out unless wanted."""
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return found


def test_who_decides_imports_nothing_that_has_effects() -> None:
    """Nor does any module of the operator that it imports, however far away."""
    known = modules(OPERATOR)
    way = {name: name for name in known if name.startswith("redisqueue_operator.decide")}
    assert len(way) > 10
    waiting = list(way)
    while waiting:
        name = waiting.pop()
        for each in imports(known[name]):
            assert each.partition(".")[0] not in EFFECTS, f"{way[name]} imports {each}"
            if each in known and each not in way:
                way[each] = f"{way[name]} → {each}"
                waiting.append(each)


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("observe", {"apply", "loop", "serve", "redrive", "budget", "schedule", "local", "cli"}),
        ("decide", {"apply", "loop", "serve", "redrive", "budget", "schedule", "local", "cli"}),
        ("apply", {"loop", "serve", "redrive", "budget", "schedule", "local", "cli"}),
    ],
)
def test_observe_decide_and_apply_know_nothing_of_who_calls_them(room: str, others: set[str]) -> None:
    for name, path in modules(OPERATOR / room).items():
        known = {each.split(".")[1] for each in imports(path) if each.startswith("redisqueue_operator.")}
        assert not known & others, f"{name} imports of {known & others}"


def test_modules_of_the_operator_know_each_other_in_one_direction() -> None:
    """Also in their types: whoever is changed, what may have to change with it lies on one side of it."""
    known = modules(OPERATOR)
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    graph = {
        name: (imports(path, types=True) & known.keys()) - packages - {name} for name, path in known.items()
    }
    assert sum(map(len, graph.values())) > 500, "it still finds them"
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test_no_folder_of_the_operator_has_more_modules_than_one_can_survey() -> None:
    for folder in {path.parent for path in modules(OPERATOR).values()}:
        names = sorted(path.name for path in folder.glob("*.py") if not path.name.startswith("__"))
        assert len(names) <= 13, f"{folder.relative_to(ROOT)} has {len(names)} modules: {', '.join(names)}"


def test_modules_are_short_but_for_those_of_one_list() -> None:
    long = {
        str(path.relative_to(package.parent))
        for package in PACKAGES
        for path in modules(package).values()
        if len(path.read_text().splitlines()) > 400
    }
    assert not long - LONG.keys()


def classes(*packages: Path) -> list[tuple[str, str]]:
    """The name of each class that a module defines for others, and of the module."""
    return [
        (node.name, module)
        for package in packages
        for module, path in modules(package).items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    ]


@pytest.mark.parametrize("packages", [(OPERATOR,), (LIBRARY, WORKER)], ids=["operator", "library and worker"])
def test_no_class_name_stands_for_two_things(packages: tuple[Path, ...]) -> None:
    """But the twin of a class for asyncio is the same thing."""
    places: dict[str, set[str]] = {}
    for name, module in classes(*packages):
        places.setdefault(name, set()).add(module.replace(".asyncio.", "."))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_what_has_a_word_in_this_field_has_that_name() -> None:
    stems = {path.stem for package in (LIBRARY, WORKER) for path in modules(package).values()}
    assert not stems & set(FORMER_MODULES.split())
    assert not {name for name, _ in classes(LIBRARY, WORKER)} & set(FORMER_CLASSES.split())
    scripts = "\n".join(path.read_text() for path in (LIBRARY / "scripts").rglob("*.lua"))
    code = re.sub(r"--.*|'[^']*'", "", scripts)
    assert not set(re.findall(r"[A-Za-z_]\w*", code)) & set(FORMER_WORDS_OF_SCRIPTS.split())


def test_no_module_of_library_and_worker_needs_one_that_needs_it() -> None:
    """Not even late, where a function imports it."""
    known = {name: path for package in (LIBRARY, WORKER) for name, path in modules(package).items()}
    single = {name: path for name, path in known.items() if path.name != "__init__.py"}
    TopologicalSorter({name: imports(path) & single.keys() for name, path in single.items()}).prepare()


def test_any_module_of_the_operator_can_be_the_first_that_is_imported() -> None:
    """Whoever starts elsewhere, as a command or a single test does, meets no circle of imports."""
    names = [name for name in modules(OPERATOR) if not name.endswith("__main__")]
    code = f"""
import importlib, sys
for name in {names}:
    for known in [each for each in sys.modules if each.startswith("redisqueue_operator")]:
        del sys.modules[known]
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_each_link_of_a_page_leads_somewhere() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lost, seen = [], 0
    for page in map(ROOT.joinpath, tracked.stdout.split()):
        for link in LINK.findall(BLOCK.sub("", page.read_text())):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            seen += 1
            if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
                lost.append(f"{page.relative_to(ROOT)}: {link}")
    assert seen > 50
    assert lost == []


@pytest.mark.parametrize("part", ["operator", "worker"])
def test_the_index_of_the_pages_names_each_of_them(part: str) -> None:
    docs = ROOT / part / "docs"
    named = {*LINK.findall((docs / "README.md").read_text())}
    assert {path.name for path in docs.glob("*.md")} - {"README.md"} <= named
