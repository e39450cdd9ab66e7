"""What the service asks for, and the handler that does it."""

import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(os.environ.get("EXPORTS_FOLDER", "exports"))


@dataclass
class Export:
    """All that a tenant has, as a file."""

    tenant: str
    name: str


def write(export: Export) -> str:
    """Write the file, and tell its name."""
    folder = FOLDER / export.tenant
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{export.name}.csv").write_text("id,name\n")
    return f"{export.tenant}/{export.name}.csv"
