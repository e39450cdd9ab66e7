"""`python -m helm.dashboards` writes both; with --check it only tells, by status 1, that one is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from helm.dashboards import fleet, queue

FOLDER = Path(__file__).parents[1] / "redis-queue-operator" / "files" / "monitoring"


def rendered() -> dict[str, str]:
    """The files, by their names."""
    return {"fleet.json": fleet.rendered(), "queue.json": queue.rendered()}


def main(arguments: list[str]) -> int:
    """The exit status."""
    stale = []
    for name, text in rendered().items():
        file = FOLDER / name
        if (file.read_text() if file.exists() else "") != text:
            stale.append(name)
            if "--check" not in arguments:
                file.write_text(text)
    if stale and "--check" in arguments:
        print(f"{', '.join(stale)}: not as helm/dashboards writes them; run make dashboards", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
