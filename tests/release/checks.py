"""The checks before a release: each says what is wrong, or what this machine has not got."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.release import artifacts
from tests.release.versions import LOCKS, notes, problems_of_lock, problems_of_versions, stated
from tests.support.helm import CHARTS as CHART_FOLDER
from tests.support.helm import NAMES, Helm, HelmError, binary

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 300
KREW, KREW_VERSION = "sigs.k8s.io/krew/cmd", "v0.4.3"


class Verdict(NamedTuple):
    """What a check found.

    `missing` is what the machine lacks: with CI=true that is a failure, too. `unknown` is what nobody here
    can tell, and is never called well.
    """

    problems: list[str]
    missing: str = ""
    unknown: str = ""


def run_all(root: Path, tag: str | None, *, images: bool, krew: bool) -> int:
    """Run every check and print its verdict; the exit code."""
    failed = False
    chosen = _checks(root, tag)
    if images:
        chosen["each image is the same when built twice"] = lambda: images_twice(root)
    if krew:
        chosen["krew takes its plugin"] = lambda: plugin(root)
    for name, check in chosen.items():
        verdict = check()
        lacks = bool(verdict.missing) and os.environ.get("CI") == "true"
        failed |= bool(verdict.problems) or lacks
        word = "not run" if verdict.missing else "unknown" if verdict.unknown else "ok"
        word = "FAILED" if verdict.problems or lacks else word
        print(": ".join(filter(None, (f"{word:8} {name}", verdict.missing, verdict.unknown))), flush=True)
        for each in verdict.problems:
            print(f"         {each}")
    return int(failed)


def _checks(root: Path, tag: str | None) -> dict[str, Callable[[], Verdict]]:
    return {
        "one version everywhere": lambda: versions(root, tag),
        "dependencies of the images are pinned by hash": lambda: locks(root),
        "wheel, sdist and charts are the same when built twice": lambda: twice(root),
        "charts pass lint with Helm 3 and 4": charts,
        "the image's bill of materials is CycloneDX": lambda: bill_of_materials(root),
        "workflows are well formed": lambda: workflows(root),
        "no dependency of the images has a known vulnerability": lambda: audit(root),
    }


def versions(root: Path, tag: str | None) -> Verdict:
    """The places agree, and with the tag, of which the changelog tells."""
    places = stated(root)
    wrong = problems_of_versions(places)
    version = places["pyproject.toml: version"]
    if tag is not None:
        if tag != f"v{version}":
            wrong.append(f"the tag {tag} is not v{version}, which pyproject.toml says")
        try:
            notes((root / "CHANGELOG.md").read_text("utf-8"), version)
        except LookupError as error:
            wrong.append(str(error))
    return Verdict(wrong)


def locks(root: Path) -> Verdict:
    """Each lock has what pyproject.toml asks for, with hashes."""
    pyproject = (root / "pyproject.toml").read_text("utf-8")
    texts = {extra: (root / file).read_text("utf-8") for extra, file in LOCKS.items()}
    return Verdict(
        [each for extra, text in texts.items() for each in problems_of_lock(pyproject, extra, text)]
    )


def twice(root: Path) -> Verdict:
    """Build all, build it again, compare, and have twine read what an index will read."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            first, second = (artifacts.build(root, Path(folder, name)) for name in ("first", "second"))
        except (RuntimeError, HelmError) as error:
            return Verdict([str(error)])
        if [path.name for path in first] != [path.name for path in second]:
            return Verdict(["not even the names are the same"])
        pairs = zip(first, second, strict=True)
        wrong = [f"{one.name} differs" for one, other in pairs if one.read_bytes() != other.read_bytes()]
        python = [
            path for path in first if path.suffix == ".whl" or path.name.startswith("redis_queue_operator")
        ]
        wrong += _said_by([sys.executable, "-m", "twine", "check", "--strict", *map(str, python)])
        lacks = "" if any(binary(name) for name in NAMES) else "helm, for the charts"
        return Verdict(wrong, lacks)


def plugin(root: Path) -> Verdict:
    """krew's own judgement of the manifest, and its installation of the archive, which then runs."""
    if shutil.which("go") is None:
        return Verdict([], "go, which builds krew")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        environment = {**os.environ, "GOBIN": place, "KREW_ROOT": f"{place}/root"}
        artifacts.build(root, folder / "dist")
        manifest = str(folder / "dist" / "redisqueue.yaml")
        archive = next(path for path in (folder / "dist").glob("kubectl-*.tar.gz"))
        commands = (
            ["go", "install", f"{KREW}/krew@{KREW_VERSION}", f"{KREW}/validate-krew-manifest@{KREW_VERSION}"],
            [f"{place}/validate-krew-manifest", "--manifest", manifest, "--skip-install"],
            [f"{place}/krew", "install", f"--manifest={manifest}", f"--archive={archive}"],
            [f"{place}/root/bin/kubectl-redisqueue", "--version"],
        )
        for command in commands:
            if wrong := _said_by(command, environment):
                return Verdict(wrong)
    return Verdict([])


def images_twice(root: Path) -> Verdict:
    """Build each image twice without a cache and compare the digests, which name every layer."""
    if shutil.which("buildah") is None:
        return Verdict([], "buildah: docker writes the time into what it builds")
    wrong, environment = [], {**os.environ, "SOURCE_DATE_EPOCH": str(artifacts.commit_time(root))}
    for part in LOCKS:
        command = [str(root / "tests" / "cluster" / "cluster"), "digest", part]
        built = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            for _ in range(2)
        ]
        if failed := next((each for each in built if each.returncode != 0), None):
            wrong.append(f"{part}: {failed.stderr.strip()}")
        elif built[0].stdout != built[1].stdout:
            wrong.append(f"{part}: {' is not '.join(each.stdout.strip() for each in built)}")
    return Verdict(wrong)


def charts() -> Verdict:
    """`helm lint --strict` of each chart by each Helm."""
    found = {name: path for name in NAMES if (path := binary(name))}
    wrong = []
    for path in found.values():
        for chart in sorted(CHART_FOLDER.glob("*/Chart.yaml")):
            try:
                Helm(path).run("lint", "--strict", chart.parent)
            except HelmError as error:
                wrong.append(str(error))
    return Verdict(wrong, ", ".join(name for name in NAMES if name not in found))


def bill_of_materials(root: Path) -> Verdict:
    """What `worker/sbom.py` writes of this environment fits the schema of CycloneDX."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    command = [sys.executable, str(root / "worker" / "sbom.py"), "redisqueue-worker", "0.0.0"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(written)
    names = {part["name"] for part in json.loads(written)["components"]}
    absent = [f"{name} is not in it" for name in ("redis", "tenacity") if name not in names]
    return Verdict([*([repr(error)] if error else []), *absent])


def workflows(root: Path) -> Verdict:
    """actionlint over the workflows: their syntax, expressions and scripts."""
    found = binary("actionlint")
    if found is None:
        return Verdict([], "actionlint (`tests/cluster/cluster build` makes it)")
    files = sorted(map(str, (root / ".github" / "workflows").glob("*.yml")))
    return Verdict(_said_by([str(found), "-no-color", *files]))


def audit(root: Path) -> Verdict:
    """pip-audit over the locks. Where the index tells nothing of vulnerabilities, that is said."""
    if shutil.which("pip-audit", path=str(Path(sys.executable).parent)) is None:
        return Verdict([], "pip-audit")
    wrong, silent = [], False
    for file in LOCKS.values():
        command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "-f", "json"]
        done = subprocess.run(
            [*command, "-r", str(root / file)], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
        told = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
        silent |= not told or any("skip_reason" in each for each in told)
        wrong += [
            f"{file}: {each['name']} {each['version']}: {found['id']}, mended in {found['fix_versions']}"
            for each in told
            for found in each.get("vulns", ())
        ]
    return Verdict(wrong, unknown="the package index in use tells of no vulnerabilities" if silent else "")


def _said_by(command: list[str], environment: dict[str, str] | None = None) -> list[str]:
    """What a command that failed has said; nothing where it succeeded."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    return [] if done.returncode == 0 else [(done.stdout + done.stderr).strip()]
