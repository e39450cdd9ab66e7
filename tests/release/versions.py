"""The version, in one place: `pyproject.toml` says it, all else is written from there."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from pathlib import Path

CHARTS = ("redis-queue-operator", "redis-queue-crds")
LOCKS = {"worker": "worker/requirements.txt", "operator": "operator/requirements.txt"}
"""What the images install, by the extra of the wheel whose dependencies these are."""
_PLACES = {
    "pyproject.toml": ("version",),
    **{f"helm/{chart}/Chart.yaml": ("version", "appVersion") for chart in CHARTS},
}


def stated(root: Path) -> dict[str, str]:
    """The version that each place says, by `file: field`; empty where it says none."""
    found = {}
    for file, fields in _PLACES.items():
        text = (root / file).read_text("utf-8")
        for field in fields:
            match = _line(field).search(text)
            found[f"{file}: {field}"] = match[2] if match else ""
    return found


def write(root: Path, version: str) -> None:
    """Have every place say this version.

    Raises ValueError for what is no version, or none that a chart and a wheel both take.
    """
    try:
        plain = str(Version(version)) == version and re.fullmatch(r"\d+\.\d+\.\d+", version)
    except InvalidVersion:
        plain = None
    if not plain:
        raise ValueError(f"{version!r} is no version for a wheel and a chart: write it as 1.2.3")
    for file, fields in _PLACES.items():
        text = (root / file).read_text("utf-8")
        for field in fields:
            text = _line(field).sub(rf"\g<1>{version}\g<3>", text, count=1)
        (root / file).write_text(text, "utf-8")


def _line(field: str) -> re.Pattern[str]:
    """That field of YAML or TOML: what stands before its value, the value, what stands behind."""
    return re.compile(rf'^({field}(?:: | = )"?)([^"\s]*)("?)$', re.MULTILINE)


def problems_of_versions(places: dict[str, str]) -> list[str]:
    """What is wrong with the versions that `stated` found."""
    said = {version for version in places.values() if version}
    wrong = [f"{place} says no version" for place, version in places.items() if not version]
    if len(said) > 1:
        told = ", ".join(f"{place} {version}" for place, version in places.items())
        wrong.append(f"versions differ ({told}): run `make version NEW=X.Y.Z`")
    return wrong


def notes(changelog: str, version: str) -> str:
    """What CHANGELOG.md says of a version. Raises LookupError where it has no section, or an empty one."""
    section = re.compile(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)
    match = section.search(changelog)
    text = match[1].strip() if match else ""
    if not text:
        raise LookupError(f"CHANGELOG.md says nothing of {version}: write a section `## [{version}] - DATE`")
    return text


def problems_of_lock(pyproject: str, extra: str, lock: str) -> list[str]:
    """What is wrong with the pinned dependencies of an extra: one is missing, too old, or has no hash."""
    project = tomllib.loads(pyproject)["project"]
    pinned, wrong = {}, []
    for entry in re.split(r"\n(?=[^\s#])", lock.replace("\\\n", " ")):
        line = entry.split("#")[0].strip()
        if not line:
            continue
        requirement = Requirement(line.split(" --hash")[0])
        pinned[requirement.name.lower()] = next(iter(requirement.specifier)).version
        if "--hash=sha256:" not in entry:
            wrong.append(f"{requirement.name} has no hash")
    for wanted in map(Requirement, [*project["dependencies"], *project["optional-dependencies"][extra]]):
        version = pinned.get(wanted.name.lower())
        if version is None:
            wrong.append(f"{wanted.name} is not pinned")
        elif not wanted.specifier.contains(version):
            wrong.append(f"{wanted.name} {version} is not {wanted.specifier}")
    return [f"{LOCKS[extra]}: {each}: run `make locks`" for each in wrong]
