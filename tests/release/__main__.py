"""The checks before a release, and what it is made of.

python -m tests.release check               # all that can be checked on this machine; exit code 1 if not well
python -m tests.release version [X.Y.Z]    # tell the version, or write it to every place
python -m tests.release notes              # what CHANGELOG.md says of this version
python -m tests.release build FOLDER       # wheel, source distribution, charts and the plugin for krew
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.release import artifacts, checks
from tests.release.versions import notes, stated, write

ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.release", description=(__doc__ or "").split("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="run every check; exit code 1 when one fails")
    check.add_argument("--tag", help="the tag that is to be released, like v1.2.3")
    check.add_argument("--images", action="store_true", help="build each image twice, too (two minutes)")
    check.add_argument("--krew", action="store_true", help="have krew itself judge its plugin (needs Go)")
    commands.add_parser("version", help="tell or write the version").add_argument("new", nargs="?")
    commands.add_parser("notes", help="what CHANGELOG.md says of this version")
    commands.add_parser("build", help="wheel, sdist and charts").add_argument("folder", type=Path)
    arguments = parser.parse_args()
    version = stated(ROOT)["pyproject.toml: version"]
    match arguments.command:
        case "version":
            if arguments.new:
                write(ROOT, arguments.new)
            print(arguments.new or version)
        case "notes":
            print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version))
        case "build":
            for path in artifacts.build(ROOT, arguments.folder):
                print(f"{artifacts.digest(path)}  {path.name}")
        case _:
            return checks.run_all(ROOT, arguments.tag, images=arguments.images, krew=arguments.krew)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, LookupError) as error:
        sys.exit(f"release: {error}")
